"""What can happen to a job: the rows of the table of reactions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from service.identifiers import WorkerId
from service.lifecycle.states import IllegalTransition
from service.records.jobs import Backoff, PauseReason
from service.records.work import WorkStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A worker wants the item, which is queued or whose lease has expired."""

    worker_id: WorkerId
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class ClaimedTooEarly:
    """A worker wants an item of a paused job before its wait is over. `decide` makes it of `Claimed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashedTooOften:
    """The item has ended too many workers. `decide` makes it of `Claimed`, `GivenBack` and `Crashed`."""

    crashes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The worker is alive and wants its lease for longer."""

    lease_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The worker has stored a checkpoint."""

    advanced: bool  # it differs from the checkpoint before
    progress: Mapping[str, Any]  # of the whole job, this checkpoint included, as the log tells it


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack:
    """The worker was told to stop, and returns the item to the queue."""

    delay_seconds: float = 0.0  # before anybody may claim it


class Crashed(GivenBack):
    """The worker met an error that nobody expected, and returns the item to the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacked:
    """While working on the item, the worker found its backend away or its project's tokens spent."""

    reason: PauseReason
    message: str
    backoff: Backoff
    at_least_seconds: float = 0.0


class LookedInVain(Lacked):
    """A worker tried whether the paused job can go on: what it waits for is still missing."""


@dataclass(frozen=True, slots=True)
class Found:
    """A worker tried whether the paused job can go on: what it waits for is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The worker has done what the item asks for."""

    error: Mapping[str, Any] | None = None
    summary: Mapping[str, Any] | None = None  # for the report


class Failed(Succeeded):
    """The item can never be done: a backend refuses, for example, or is back with another language model."""


class Stopped(Succeeded):
    """The worker gave up the item because somebody wants the job to stop."""


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """A person wants the job to wait."""


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """A person wants the job to go on."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A person wants the job to stop."""


@dataclass(frozen=True, slots=True)
class DeleteAsked:
    """A person wants nothing to be left of the job."""


WorkEnded = Succeeded | Failed | Stopped
WorkEvent = Claimed | Renewed | Saved | GivenBack | Crashed | Lacked | LookedInVain | Found | WorkEnded
JobEvent = PauseAsked | ResumeAsked | CancelAsked | DeleteAsked
Event = WorkEvent | JobEvent | ClaimedTooEarly | CrashedTooOften


def lacking(reason: PauseReason, message: str, *, tried: bool, backoff: Backoff, at_least_seconds: float) -> Lacked:
    """What it means for the job that a worker found something missing, who maybe `tried` whether a pause is over."""
    kind = LookedInVain if tried else Lacked
    return kind(reason=reason, message=message, backoff=backoff, at_least_seconds=at_least_seconds)


def ended(
    status: WorkStatus, *, error: Mapping[str, Any] | None = None, summary: Mapping[str, Any] | None = None
) -> WorkEnded:
    """The event that ends a work item in this state. Raises IllegalTransition for a state that is no end."""
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
