"""The states of jobs and work items, and which state may follow which."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, assert_never

from service.identifiers import JobId, WorkerId
from service.records.jobs import JobStatus, PauseReason
from service.records.work import WorkKind, WorkStatus

# What may follow; ARCHITECTURE.md draws it.
JOB: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset({JobStatus.PAUSED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.PAUSED: frozenset(JobStatus) - {JobStatus.PAUSED},
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}
WORK: Mapping[WorkStatus, frozenset[WorkStatus]] = {
    WorkStatus.BLOCKED: frozenset({WorkStatus.QUEUED, WorkStatus.CANCELLED}),
    WorkStatus.QUEUED: frozenset({WorkStatus.RUNNING, WorkStatus.FAILED, WorkStatus.CANCELLED}),
    WorkStatus.RUNNING: frozenset(WorkStatus) - {WorkStatus.BLOCKED},  # running again: claimed from another worker
    WorkStatus.SUCCEEDED: frozenset(),
    WorkStatus.FAILED: frozenset(),
    WorkStatus.CANCELLED: frozenset(),
}

OPEN_JOB = tuple(status for status in JobStatus if JOB[status])
WAITING_WORK = (WorkStatus.BLOCKED, WorkStatus.QUEUED)


class IllegalTransition(RuntimeError):
    """A store reports what cannot happen in this state: a defect of the store."""


class Standing(Enum):
    """What a job allows at the moment: the columns of the table of reactions."""

    OPEN = "open"  # queued or running: its items may be claimed
    SUSPENDED = "suspended"  # paused until its backend is back or its project has tokens; it resumes by itself
    ON_HOLD = "on hold"  # paused by a person; only a person resumes it
    STOPPING = "stopping"  # to be cancelled once no item is leased
    CANCELLED = "cancelled"
    ENDED = "ended"  # succeeded or failed


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job as far as its life is concerned, locked against others; fields have the names of the table's columns."""

    id: JobId
    name: str  # the user's, for webhooks
    kind: WorkKind = WorkKind.LABEL
    status: JobStatus
    cancel_requested: bool = False
    error: Mapping[str, Any] | None = None
    pause_reason: PauseReason | None = None
    paused_at: datetime | None = None
    retry_at: datetime | None = None  # until then no item of a paused job is claimed; None: only people resume it
    tries: int = 0  # to go on, in vain, since an item was saved last
    paused_seconds: float = 0.0  # in pauses that are over, since the job began
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def standing(self) -> Standing:
        """What the job allows."""
        match self.status:
            case JobStatus.CANCELLED:
                return Standing.CANCELLED
            case JobStatus.SUCCEEDED | JobStatus.FAILED:
                return Standing.ENDED
            case JobStatus.QUEUED | JobStatus.RUNNING:
                return Standing.STOPPING if self.cancel_requested else Standing.OPEN
            case JobStatus.PAUSED:
                if self.cancel_requested:
                    return Standing.STOPPING
                return Standing.ON_HOLD if self.pause_reason is PauseReason.REQUESTED else Standing.SUSPENDED
            case _:
                assert_never(self.status)

    def waits(self, now: datetime) -> bool:
        """Whether the job is paused, and it is too early to try whether it can go on."""
        return self.status is JobStatus.PAUSED and (self.retry_at is None or now < self.retry_at)

    def pause_so_far(self, now: datetime) -> float:
        """Seconds that the current pause has lasted; 0 where there is none."""
        return 0.0 if self.paused_at is None else (now - self.paused_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkState:
    """A work item as far as its life is concerned, locked against others; fields have the table's columns' names."""

    job_id: JobId
    number: int  # within the job, from 0
    kind: WorkKind = WorkKind.LABEL
    payload: Mapping[str, Any] = field(default_factory=dict)
    status: WorkStatus
    epoch: int = 0  # raised by each claim
    worker_id: WorkerId | None = None
    lease_until: datetime | None = None
    run_after: datetime | None = None
    crashes: int = 0  # since the last save that advanced

    @property
    def is_anchor(self) -> bool:
        """Whether other shards of the job may wait for its labels."""
        return self.kind is WorkKind.LABEL and self.number == 0

    def has_expired(self, now: datetime) -> bool:
        """Whether a worker let its lease run out."""
        return self.status is WorkStatus.RUNNING and self.lease_until is not None and self.lease_until < now

    def is_idle(self, now: datetime) -> bool:
        """Whether it has not ended, and no worker holds it."""
        return self.status in WAITING_WORK or self.has_expired(now)


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """How many work items of a job wait, run and have succeeded."""

    waiting: int
    running: int
    succeeded: int
    total: int
