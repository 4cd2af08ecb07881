"""How a turn at a work item ends, by what its handler gave or raised, and what is recorded of that."""

from dataclasses import dataclass
from typing import Protocol

import structlog

from service.errors import BackendUnavailable, LeaseLost, QuotaExhausted, ServiceError, StorageFull, StorageUnavailable
from service.ports.work import WorkEnds
from service.records.jobs import Backoff, PauseReason
from service.records.observations import TurnEnd
from service.records.work import ClaimedWork, WorkOutcome, WorkStatus
from service.settings import QueueSettings

logger = structlog.get_logger(__name__)

FULL_DISK_DELAY_SECONDS = 5.0
CRASH_DELAY_SECONDS = 1.0
NO_BACKOFF = Backoff(0.0, 0.0)


class Ending(Protocol):
    """An end of a turn."""

    @property
    def how(self) -> TurnEnd:
        """What observers are told."""

    async def record(self, work: WorkEnds, claimed: ClaimedWork) -> None:
        """Tell the queue. Raises LeaseLost and StorageUnavailable."""


@dataclass(frozen=True)
class Done:
    """The handler has recorded the end itself, together with what it had still to write."""

    how = TurnEnd.SUCCEEDED

    async def record(self, work: WorkEnds, claimed: ClaimedWork) -> None:
        """Nothing is left to be recorded."""


@dataclass(frozen=True)
class Returned:
    """The item goes back to the queue."""

    delay_seconds: float = 0.0
    crashed: bool = False

    @property
    def how(self) -> TurnEnd:
        """What observers are told."""
        return TurnEnd.CRASHED if self.crashed else TurnEnd.GIVEN_BACK

    async def record(self, work: WorkEnds, claimed: ClaimedWork) -> None:
        """Give the item back."""
        await work.release(claimed.lease, delay_seconds=self.delay_seconds, crashed=self.crashed)


@dataclass(frozen=True)
class Paused:
    """The item's job waits for what it lacks."""

    reason: PauseReason
    message: str
    backoff: Backoff
    at_least_seconds: float
    how = TurnEnd.PAUSED

    async def record(self, work: WorkEnds, claimed: ClaimedWork) -> None:
        """Give the item back and let the job wait."""
        await work.pause(
            claimed.lease,
            self.reason,
            self.message,
            tried=claimed.paused,
            backoff=self.backoff,
            at_least_seconds=self.at_least_seconds,
        )


@dataclass(frozen=True)
class Failed:
    """The item, and its job with it, can never be done."""

    error: ServiceError
    how = TurnEnd.FAILED

    async def record(self, work: WorkEnds, claimed: ClaimedWork) -> None:
        """Say why in the job's error."""
        details = {"code": type(self.error).__name__, "message": str(self.error)}
        await work.finish(claimed.lease, WorkStatus.FAILED, error=details)


def ending_with(outcome: WorkOutcome) -> Ending:
    """What follows from a handler's outcome."""
    return Done() if outcome is WorkOutcome.SUCCEEDED else Returned()


def ending_by(error: Exception, noun: str, queue: QueueSettings) -> Ending:
    """What follows from an error of a handler; the log tells of it, with the noun for the item.

    Raises the error itself where nothing can be recorded, since the lease or the database is lost.
    """
    match error:
        case StorageFull():
            told = f"the disk of the database is full; the {noun} waits"
            logger.warning(told, reason=str(error))
            return Returned(FULL_DISK_DELAY_SECONDS)  # if its lease ran out, that were a crash
        case LeaseLost() | StorageUnavailable():
            raise error
        case BackendUnavailable():
            logger.warning("the backend cannot be reached; the job waits", reason=str(error))
            backoff, wait = Backoff(queue.retry_seconds, queue.max_retry_seconds), error.retry_after_seconds or 0.0
            return Paused(PauseReason.BACKEND_UNAVAILABLE, str(error), backoff, wait)
        case QuotaExhausted():
            logger.info("the project has no tokens left today; the job waits", reason=str(error))
            return Paused(PauseReason.QUOTA_EXHAUSTED, str(error), NO_BACKOFF, error.retry_after_seconds)
        case ServiceError():
            told = f"the {noun} failed"
            logger.error(told, reason=str(error))
            return Failed(error)
        case _:
            told = f"the {noun} failed unexpectedly"
            logger.error(told, exc_info=error)
            return Returned(CRASH_DELAY_SECONDS, crashed=True)
