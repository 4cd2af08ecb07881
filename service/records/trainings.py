"""Records of trainings: as projects and workers see them, and what their process tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.identifiers import JobId
from service.records.jobs import JobStatus
from service.records.work import UNKNOWN_ORIGIN, Origin


@dataclass(frozen=True, slots=True)
class TrainingEvent:
    """An event that a training reported, by its name (docs/training.md#output)."""

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
class BaseIdentity:
    """What a base is: its name, never a path; a hash over its files, as the embedded server has it; its revision."""

    name: str
    fingerprint: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder of files that was stored, named by its content (docs/training.md#files-in-dir)."""

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
    models: Mapping[str, JobId] = field(default_factory=dict)  # trainings whose models it needs, by field
    warnings: tuple[str, ...] = ()
    origin: Origin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What a training was made of, by ids; some of it may have been deleted since."""

    jobs: tuple[str, ...]
    reward: str | None  # whose rewards a policy was trained to raise
    judge: str | None  # which compares a policy with its base


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
    unreadable: str | None = None  # of a list: why this release cannot read the configuration, of which ids are left

    @property
    def lineage(self) -> Lineage:
        """What it was made of."""
        policy = self.config.get("policy") or {}
        return Lineage(jobs=tuple(self.config["job_ids"]), reward=policy.get("reward"), judge=policy.get("judge"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What a training leaves besides what was trained (docs/training.md#files-in-dir)."""

    training: Training
    manifest: Mapping[str, Any]
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededModel:
    """What a finished training has left, as another training needs it."""

    training_id: JobId
    sha256: str
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOrder:
    """What a worker needs to begin a training or to go on; hashes name artifacts."""

    base: str
    spec: Mapping[str, Any]
    examples: str
    models: tuple[NeededModel, ...] = ()
    labelled_by: Mapping[JobId, str] = field(default_factory=dict)  # fingerprints of its jobs' backends, where known
    checkpoint: str | None = None  # the command's folder, as a worker that gave the training back has left it
