"""Records of trainings: as projects and workers see them, and what their process tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.identifiers import JobId
from service.records.jobs import JobStatus
from service.records.work import UNKNOWN_ORIGIN, Origin


@dataclass(frozen=True, slots=True)
class TrainingEvent:
    """An event that a training reported, by its name (docs/training.md#what-it-tells)."""

    name: str
    facts: Mapping[str, Any]


class TrainingEnd(StrEnum):
    """How a worker's run of a training ended."""

    FINISHED = "finished"
    STOPPED = "stopped"  # on request; started again in the same folder, it resumes
    FAILED = "failed"  # for a reason that another try would meet again
    CRASHED = "crashed"  # by a signal, or without a report; started again in the same folder, it resumes


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a turn ended; a finished one has the folder of what was trained, and the hash of its content."""

    end: TrainingEnd
    reason: str = ""
    artifact: Path | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder of files that was stored, named by its content (docs/training.md#what-is-left-in-dir)."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of an artifact; its name has `/` between folders."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTraining:
    """A training about to be stored and queued."""

    id: JobId
    config: Mapping[str, Any]  # as it was asked for
    base: str  # the operator's name of the language model to start from
    spec: Mapping[str, Any]  # for the command, without base and examples
    rows: int
    examples: Artifact
    warnings: tuple[str, ...] = ()
    origin: Origin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training as its project sees it."""

    id: JobId
    config: Mapping[str, Any]
    base: str
    rows: int  # examples
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: Mapping[str, Any] | None  # {"code", "message"}: why it has failed or is paused
    warnings: tuple[str, ...]
    progress: Mapping[str, Any]  # of the stage under way: step, steps, loss, tokens_per_second, seconds_left
    artifact: Artifact | None  # what was trained, once it has succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a training leaves besides what was trained (docs/training.md#what-is-left-in-dir)."""

    training: Training
    manifest: Mapping[str, Any]
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOrder:
    """What a worker needs to begin a training or to go on; hashes name artifacts."""

    base: str
    spec: Mapping[str, Any]
    examples: str
    checkpoint: str | None = None  # the command's folder, as a worker that gave the training back has left it
