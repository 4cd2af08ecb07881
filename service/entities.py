"""The records that pass between the layers: jobs, shards, rows, labels, events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from service.config import JobConfig
from service.identifiers import (
    DEFAULT_PROJECT,
    BackendId,
    DatasetId,
    JobId,
    KeyId,
    Label,
    ProjectName,
    Row,
    WorkerId,
)


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # stored; no worker has begun
    RUNNING = "running"  # at least one shard was claimed
    PAUSED = "paused"  # waits for its backend, for tokens or for a person
    SUCCEEDED = "succeeded"  # every shard is done; the result can be downloaded
    FAILED = "failed"  # a shard failed for good; `error` says why
    CANCELLED = "cancelled"  # stopped on request; partial results can be downloaded

    @property
    def is_final(self) -> bool:
        """Whether the job will never change again."""
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


class PauseReason(StrEnum):
    """Why a job is paused."""

    BACKEND_UNAVAILABLE = "backend_unavailable"  # its backend could not be reached for long; ends by itself
    QUOTA_EXHAUSTED = "quota_exhausted"  # its project has had its day's tokens computed; ends by itself
    REQUESTED = "requested"  # a person asked for it; a person ends it


class ShardStatus(StrEnum):
    """Where a shard stands."""

    BLOCKED = "blocked"  # waits for the anchor shard's labels
    QUEUED = "queued"  # any worker may claim it
    RUNNING = "running"  # leased to a worker
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class LabelStatus(StrEnum):
    """How much a row's label is worth."""

    LABELED = "labeled"
    UNCERTAIN = "uncertain"  # the margin to the runner-up is small
    UNLABELED = "unlabeled"  # there is no label; none is ever made up


class Scope(StrEnum):
    """What an API key is good for."""

    READ = "read"  # jobs, labels, results, reports, events, backends, webhooks
    WRITE = "write"  # create, estimate, pause, resume, cancel, delete jobs; make and change webhooks
    ADMIN = "admin"  # all of it, and the metrics


class AuditAction(StrEnum):
    """What the audit log tells of."""

    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    PROJECT_LIMITED = "project.limited"
    JOB_CREATED = "job.created"
    JOB_PAUSED = "job.paused"
    JOB_RESUMED = "job.resumed"
    JOB_CANCELLED = "job.cancelled"
    JOB_DELETED = "job.deleted"
    JOB_EXPIRED = "job.expired"  # by the operator's retention; nobody asked for it
    RESULT_DOWNLOADED = "result.downloaded"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_ROTATED = "webhook.rotated"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_RESENT = "webhook.resent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """On whose behalf something is done, and so what can be seen and what may be done."""

    project: ProjectName = DEFAULT_PROJECT
    key_id: KeyId | None = None  # none: somebody on this machine, who needs no key
    scopes: frozenset[Scope] = frozenset(Scope)
    request_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is among the caller's; admin includes all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


LOCAL_CALLER = Caller()

USE_IS_NOTED_EVERY = timedelta(minutes=1)  # of an API key; more often would be a write for every request


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is known of an API key; the secret is not."""

    id: KeyId
    project: ProjectName
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None  # to the minute

    def is_good(self, now: datetime) -> bool:
        """Whether it opens anything at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def is_use_news(self, now: datetime) -> bool:
        """Whether a use at this moment is worth a note."""
        return self.last_used_at is None or now - self.last_used_at >= USE_IS_NOTED_EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """An API key about to be stored; it is good for so long by the store's clock, which is asked at every use."""

    id: KeyId
    project: ProjectName
    name: str
    scopes: frozenset[Scope]
    lifetime: timedelta | None = None  # without end


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """How much a project may have; 0 is no limit."""

    jobs_in_flight: int = 0  # that have not ended
    rows: int = 0  # stored at once
    bytes: int = 0  # of the rows stored at once
    tokens_per_day: int = 0  # computed between two midnights (UTC); a running job then waits
    event_streams: int = 0  # open at once at one API process


NO_QUOTAS = Quotas()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a project has as of now."""

    jobs_in_flight: int
    rows: int
    bytes: int
    tokens_today: int
    seconds_left_today: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a data set is."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Who owns jobs: everything belongs to one project, and every API key opens one."""

    name: ProjectName
    created_at: datetime
    quotas: Mapping[str, int]  # its own ones, instead of the operator's for all


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what to what."""

    action: AuditAction
    target: str  # a job's or key's id, or a project's name
    project: ProjectName
    key_id: KeyId | None
    request_id: str | None
    at: datetime | None = None  # by the database's clock, once it is stored

    @classmethod
    def by(cls, caller: Caller, action: AuditAction, target: str) -> "AuditEntry":
        """An entry about what this caller does."""
        return cls(
            action=action, target=target, project=caller.project, key_id=caller.key_id, request_id=caller.request_id
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What has been done and what it cost; sums over shards, `utility` the mean over rows."""

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
class Origin:
    """The request that a job was made by, so that logs and traces lead from one to the other."""

    request_id: str | None = None
    traceparent: str | None = None  # the request's span, as W3C Trace Context has it


UNKNOWN_ORIGIN = Origin()


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
    backend_id: BackendId | None = None  # what the backend was when the job was made; unknown of older jobs
    warnings: tuple[str, ...] = ()  # what was doubtful when it was made, and rows left out; none known of older jobs
    origin: Origin = UNKNOWN_ORIGIN
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job about to be stored; when it was made says the store's clock, as it does of everything else."""

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
    arrow_schema: bytes | None = None  # the columns' types, where the file had them: service/intake/arrow_schema.py


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
        """What the row counts towards the project's quota of bytes."""
        return len(self.data) + len(self.gold or b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShard:
    """A shard about to be queued; shard 0 is the anchor where there are several."""

    index: int
    rows: int
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRow:
    """One row as a worker sees it: there is no gold here."""

    position: Row
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of one worker to write one shard, as long as the epoch stands."""

    job_id: JobId
    shard: int
    epoch: int
    worker_id: WorkerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedShard:
    """A shard with everything a worker needs to begin or to go on."""

    lease: Lease
    project: ProjectName  # whose job it is
    dataset_id: DatasetId
    config: JobConfig
    shards: int  # how many shards the job has
    job_rows: int  # of all its shards together
    rows: int
    checkpoint: bytes | None  # where an earlier worker stopped
    progress: Progress
    paused: bool = False  # the job waits for its backend or tokens; this worker is to see whether it can go on
    remembered: int = 0  # prompts that were answered from memory so far
    modelled: bool = False  # whether tokens computed so far are those of an ideal cache
    origin: Origin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a backend is tried again: twice as long each time, within a bound."""

    first_seconds: float = 5.0
    longest_seconds: float = 60.0

    def seconds(self, tries: int) -> float:
        """The wait after so many tries in vain, the first one not counted."""
        doubled = self.first_seconds * 2.0 ** min(tries, 30)
        return min(doubled, self.longest_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelState:
    """The label of one row as it is now. Confidence is a probability over the label set, margin in nats.

    The raw probability is the label's before calibration; None where it is not known.
    `reason` says why there is no label where the backend gives no scores for the row.
    """

    position: Row
    label: Label | None
    confidence: float | None
    margin: float | None
    status: LabelStatus
    raw_probability: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledRow:
    """One row of the result: the user's row and its label state."""

    id: str
    data: bytes  # JSON object without the gold column
    gold: bytes | None  # JSON value, put back in its place on export
    state: LabelState


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job; `sequence` counts from 1 within the job, in commit order."""

    sequence: int
    type: str
    created_at: datetime
    data: Mapping[str, Any]
