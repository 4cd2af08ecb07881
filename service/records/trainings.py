"""What passes between the process that trains a language model and whoever supervises it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainingEvent:
    """Something a training told of, by its name (docs/training.md#what-it-tells)."""

    name: str
    facts: Mapping[str, Any]


class TrainingEnd(StrEnum):
    """How a turn of a training ended."""

    FINISHED = "finished"
    STOPPED = "stopped"  # on request; started again in the same folder, it goes on
    FAILED = "failed"  # for a reason that another try would meet again
    CRASHED = "crashed"  # by a signal, or without a word; started again in the same folder, it goes on


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a turn ended; a finished one has the folder of what was trained, and the hash of its content."""

    end: TrainingEnd
    reason: str = ""
    artifact: Path | None = None
    sha256: str | None = None
