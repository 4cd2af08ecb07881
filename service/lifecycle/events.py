"""The events that can change a job or a work item: the rows of the table of reactions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from service.identifiers import WorkerId
from service.lifecycle.states import IllegalTransition
from service.records.jobs import Backoff, PauseReason
from service.records.work import WorkStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A worker claims an item that is queued or whose lease has expired."""

    worker_id: WorkerId
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class ClaimedTooEarly:
    """A worker claims an item of a paused job before its wait is over. `decide` turns `Claimed` into this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashedTooOften:
    """The item has crashed too often. `decide` turns `Claimed`, `Released` and `Crashed` into this."""

    crashes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The worker renews its lease."""

    lease_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The worker has stored a checkpoint."""

    advanced: bool  # it differs from the last checkpoint
    progress: Mapping[str, Any]  # of the whole job with this checkpoint, for the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The worker must stop, and returns the item to the queue."""

    delay_seconds: float = 0.0  # before anybody may claim it


class Crashed(Released):
    """The worker met an unexpected error, and returns the item to the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceMissing:
    """The worker found the job's backend unavailable or its project's tokens spent."""

    reason: PauseReason
    message: str
    backoff: Backoff
    at_least_seconds: float = 0.0


class RetryFailed(ResourceMissing):
    """A worker tried to resume a paused job, but its backend or tokens are still missing."""


@dataclass(frozen=True, slots=True)
class RetrySucceeded:
    """A worker tried to resume a paused job, and its backend or tokens are available again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The worker has finished the item."""

    error: Mapping[str, Any] | None = None
    summary: Mapping[str, Any] | None = None  # for the report


class Failed(Succeeded):
    """The item can never succeed: the backend refuses, for example, or is back with another language model."""


class Stopped(Succeeded):
    """The worker gave up the item because the job is being cancelled."""


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """A person pauses the job."""


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """A person resumes the job."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A person cancels the job."""


@dataclass(frozen=True, slots=True)
class DeleteRequested:
    """A person deletes the job."""


WorkEnded = Succeeded | Failed | Stopped
WorkEvent = Claimed | Renewed | Saved | Released | Crashed | ResourceMissing | RetryFailed | RetrySucceeded | WorkEnded
JobEvent = PauseRequested | ResumeRequested | CancelRequested | DeleteRequested
Event = WorkEvent | JobEvent | ClaimedTooEarly | CrashedTooOften


def resource_missing(
    reason: PauseReason, message: str, *, tried: bool, backoff: Backoff, at_least_seconds: float
) -> ResourceMissing:
    """The event of a worker that misses a backend or tokens; `tried`: it was trying to resume a paused job."""
    kind = RetryFailed if tried else ResourceMissing
    return kind(reason=reason, message=message, backoff=backoff, at_least_seconds=at_least_seconds)


def ended(
    status: WorkStatus, *, error: Mapping[str, Any] | None = None, summary: Mapping[str, Any] | None = None
) -> WorkEnded:
    """The event that ends a work item with this status. Raises IllegalTransition if the status is not final."""
    match status:
        case WorkStatus.SUCCEEDED:
            return Succeeded(error=error, summary=summary)
        case WorkStatus.FAILED:
            return Failed(error=error, summary=summary)
        case WorkStatus.CANCELLED:
            return Stopped(error=error, summary=summary)
        case WorkStatus.BLOCKED | WorkStatus.QUEUED | WorkStatus.RUNNING:
            raise IllegalTransition(f"no work item ends as {status}")
        case _:
            assert_never(status)
