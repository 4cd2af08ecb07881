"""Records of trainings, as projects and workers see them, and of the events of their process."""

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
    """How a turn ended; a finished one has the folder of the artifact, and the hash of its content."""

    end: TrainingEnd
    reason: str = ""
    artifact: Path | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class BaseIdentity:
    """The identity of a base: its name, never a path; the embedded server's hash over its files; its revision."""

    name: str
    fingerprint: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored folder of files, named by its content (docs/training.md#files-in-dir)."""

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
    config: Mapping[str, Any]  # the request
    base: str  # the operator's name of the language model to start from
    spec: Mapping[str, Any]  # for the command, without base and examples
    rows: int
    examples: Artifact
    models: Mapping[str, JobId] = field(default_factory=dict)  # trainings whose models it needs, by field
    model_jobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # the jobs that each of these learned from
    warnings: tuple[str, ...] = ()
    origin: Origin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The ids of what a training was made of; some may have been deleted since."""

    jobs: tuple[str, ...]
    reward: str | None  # the reward model of a policy
    judge: str | None  # the reward model that compares a policy with its base
    reward_jobs: tuple[str, ...] | None = None  # which the reward model learned from; None: an earlier release
    judge_jobs: tuple[str, ...] | None = None  # likewise


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
    artifact: Artifact | None  # the trained files, once it has succeeded
    model_jobs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of reward model and judge, by field
    unreadable: str | None = None  # of a list: why this release cannot read the configuration, of which ids are left

    @property
    def lineage(self) -> Lineage:
        """The ids of what it was made of."""
        policy = self.config.get("policy") or {}
        return Lineage(
            jobs=tuple(self.config["job_ids"]),
            reward=policy.get("reward"),
            judge=policy.get("judge"),
            reward_jobs=self.model_jobs.get("reward"),
            judge_jobs=self.model_jobs.get("judge"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """A finished training with its manifest and its report (docs/training.md#files-in-dir)."""

    training: Training
    manifest: Mapping[str, Any]
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededModel:
    """The artifact and manifest of a finished training that another training needs."""

    training_id: JobId
    sha256: str
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOrder:
    """Everything that a worker needs to begin or resume a training; hashes name artifacts."""

    base: str
    spec: Mapping[str, Any]
    examples: str
    models: tuple[NeededModel, ...] = ()
    labelled_by: Mapping[JobId, str] = field(default_factory=dict)  # fingerprints of its jobs' backends, where known
    checkpoint: str | None = None  # the command's folder, as saved by a worker that released the training
