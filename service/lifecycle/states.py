"""The states of jobs and work items, and which state may follow which."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, assert_never

from service.identifiers import JobId, WorkerId
from service.records.jobs import JobStatus, PauseReason
from service.records.work import WorkKind, WorkStatus

# The allowed transitions; ARCHITECTURE.md draws them.
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
    WorkStatus.RUNNING: frozenset(WorkStatus) - {WorkStatus.BLOCKED},  # RUNNING again: another worker claims it
    WorkStatus.SUCCEEDED: frozenset(),
    WorkStatus.FAILED: frozenset(),
    WorkStatus.CANCELLED: frozenset(),
}

OPEN_JOB = tuple(status for status in JobStatus if JOB[status])
WAITING_WORK = (WorkStatus.BLOCKED, WorkStatus.QUEUED)


class IllegalTransition(RuntimeError):
    """A store reports an event that is impossible in this state: a defect of the store."""


class Standing(Enum):
    """The standing of a job, which decides how it reacts to events: the columns of the table of reactions."""

    OPEN = "open"  # queued or running: workers may claim its items
    SUSPENDED = "suspended"  # paused until its backend is back or its project has tokens; it resumes by itself
    ON_HOLD = "on hold"  # paused by a person; only a person resumes it
    STOPPING = "stopping"  # being cancelled: workers still hold items
    CANCELLED = "cancelled"
    ENDED = "ended"  # succeeded or failed


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """The fields of a job that decide about its life, named like the columns of table `jobs`."""

    id: JobId
    name: str  # the user's, for webhooks
    kind: WorkKind = WorkKind.LABEL
    status: JobStatus
    cancel_requested: bool = False
    error: Mapping[str, Any] | None = None
    pause_reason: PauseReason | None = None
    paused_at: datetime | None = None
    retry_at: datetime | None = None  # no claim of a paused job's items before; None: only people resume it
    tries: int = 0  # failed ones to resume it, since the last save of an item
    paused_seconds: float = 0.0  # of pauses that have ended, since the job's start
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def standing(self) -> Standing:
        """The job's standing."""
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
        """True of a paused job while it is too early to try to resume it."""
        return self.status is JobStatus.PAUSED and (self.retry_at is None or now < self.retry_at)

    def pause_so_far(self, now: datetime) -> float:
        """Seconds since the current pause began; 0 without a pause."""
        return 0.0 if self.paused_at is None else (now - self.paused_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkState:
    """The fields of a work item that decide about its life, named like the columns of table `work_items`."""

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
        """Whether the item's lease has expired."""
        return self.status is WorkStatus.RUNNING and self.lease_until is not None and self.lease_until < now

    def is_idle(self, now: datetime) -> bool:
        """True of an item that has not ended and that no worker holds."""
        return self.status in WAITING_WORK or self.has_expired(now)


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """Numbers of a job's work items that wait, run and have succeeded."""

    waiting: int
    running: int
    succeeded: int
    total: int
