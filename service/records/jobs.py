"""Records of jobs, and of shards and data sets of those that label, as they pass between the layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from service.config import JobConfig
from service.identifiers import BackendId, DatasetId, JobId, ProjectName, Row
from service.records.adapters import TrainedAdapter
from service.records.scoring import BackendIdentity
from service.records.work import UNKNOWN_ORIGIN, Lease, Origin


class JobStatus(StrEnum):
    """The state of a job."""

    QUEUED = "queued"  # stored; no worker has begun
    RUNNING = "running"  # at least one of its work items was claimed
    PAUSED = "paused"  # waits for its backend, for tokens or for a person
    SUCCEEDED = "succeeded"  # every work item is done; the result can be downloaded
    FAILED = "failed"  # a work item failed for good; `error` says why
    CANCELLED = "cancelled"  # stopped on request; partial results can be downloaded

    @property
    def is_final(self) -> bool:
        """Whether the job will never change again."""
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


class PauseReason(StrEnum):
    """Why a job is paused."""

    BACKEND_UNAVAILABLE = "backend_unavailable"  # no worker has reached its backend for long; ends by itself
    QUOTA_EXHAUSTED = "quota_exhausted"  # its project has no tokens left today; ends by itself
    REQUESTED = "requested"  # a person paused the job; a person resumes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress and cost of a job: sums over shards, except `utility`, the mean over rows."""

    rows: int = 0
    labeled: int = 0
    iterations: int = 0
    accepted: int = 0
    utility: float | None = None
    inconsistencies: int = 0
    prompts: int = 0
    tokens_sent: int = 0
    tokens_computed: int = 0
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPace:
    """What a shard's search, or its reward model, still asks."""

    prompts_left: float  # of a search of middling length
    prompts_per_query: float  # more than one if labels have several tokens
    prompts_under_way: float = 0.0  # of them, those of the present request, which the job's limits do not cut short


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPace:
    """How fast the trainings of a job's search go; tokens are those that trainings read."""

    since_seconds: float  # of the job's time without pauses, when the first of these trainings began
    tokens_read: int  # since then
    tokens_left: int  # at most, since a search may need fewer trainings


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request to label one data set."""

    id: JobId
    dataset_id: DatasetId
    config: JobConfig
    status: JobStatus = JobStatus.QUEUED
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested: bool = False
    error: Mapping[str, Any] | None = None  # {"code", "message"}: why the job has failed or is paused
    backend_id: BackendId | None = None  # identity of its backend at its creation; older jobs have none
    warnings: tuple[str, ...] = ()  # doubts at its creation, and rows left out; older jobs have none
    origin: Origin = UNKNOWN_ORIGIN
    progress: Progress = field(default_factory=Progress)

    @property
    def name(self) -> str:
        """The user's name for it."""
        return self.config.name

    @property
    def unreadable(self) -> None:
        """None, since this release can read its configuration; an `UnreadableJob` has the reason."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableJob:
    """A job of a list whose configuration another release has stored in a form that this one does not know."""

    id: JobId
    name: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: Mapping[str, Any] | None
    warnings: tuple[str, ...]
    progress: Progress
    unreadable: str  # why
    config: None = None


ListedJob = Job | UnreadableJob


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job about to be stored; the database's clock sets its times."""

    id: JobId
    dataset_id: DatasetId
    config: JobConfig
    backend_id: BackendId | None = None
    warnings: tuple[str, ...] = ()
    origin: Origin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDataset:
    """A validated data set about to be stored; rows follow in chunks."""

    id: DatasetId
    columns: tuple[str, ...]  # the user's columns in their order, the gold column included
    gold_field: str | None
    rows: int
    sha256: str
    arrow_schema: bytes | None = None  # the columns' types, where the file had them (`arrow_schema`)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """One validated row about to be stored."""

    position: Row
    id: str  # the user's id, or the position
    data: bytes  # the row as a JSON object, without the gold column
    gold: bytes | None  # the gold column's value as JSON; stored in a table of its own
    shard: int

    @property
    def size_bytes(self) -> int:
        """The row's size in the project's quota of bytes."""
        return len(self.data) + len(self.gold or b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShard:
    """A shard about to be queued; shard 0 is the anchor if there are several."""

    index: int
    rows: int
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRow:
    """One row as a worker sees it: there is no gold here."""

    position: Row
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedShard:
    """A leased shard with everything that a worker needs to begin or resume it."""

    lease: Lease
    project: ProjectName  # the job's owner
    dataset_id: DatasetId
    config: JobConfig
    shards: int  # of the job
    job_rows: int  # of all its shards
    rows: int
    checkpoint: bytes | None  # where an earlier worker stopped
    progress: Progress
    paused: bool = False  # the job waits for its backend or tokens; this worker tries to resume it
    remembered: int = 0  # prompts that were answered from memory so far
    modelled: bool = False  # whether tokens computed so far are those of an ideal cache
    server_crashes: Mapping[str, int] = field(default_factory=dict)  # see `ServerCrashes`
    adapter: TrainedAdapter | None = None  # of the training that `config.model` names

    @property
    def backend(self) -> str:
        """The operator's name of the backend that scores the shard."""
        return self.config.model if self.adapter is None else self.adapter.backend


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a backend is tried again: twice as long each time, within a bound."""

    first_seconds: float = 5.0
    longest_seconds: float = 60.0

    def seconds(self, tries: int) -> float:
        """The wait after `tries` failed attempts beyond the first."""
        doubled = self.first_seconds * 2.0 ** min(tries, 30)
        return min(doubled, self.longest_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job; `sequence` counts from 1 within the job, in commit order."""

    sequence: int
    type: str
    created_at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Swept:
    """The number of rows that one call has removed, and whether no expired ones are left."""

    removed: int
    is_done: bool


@dataclass(frozen=True)
class StoredRequest:
    """The request and the job of an Idempotency-Key."""

    sha256: str
    job_id: JobId


@dataclass(frozen=True, slots=True)
class KnownBackend:
    """The backend that a job began with."""

    id: BackendId
    identity: BackendIdentity
