"""Turns the outcome or error of a handler into the end of its turn, and into the record of that end."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from service.errors import (
    ArtifactsUnavailable,
    BackendUnavailable,
    LeaseLost,
    QuotaExhausted,
    RewardsUnavailable,
    ServiceError,
    StorageFull,
    StorageUnavailable,
)
from service.ports.work import Work
from service.records.jobs import Backoff, PauseReason
from service.records.observations import TurnEnd
from service.records.work import ClaimedWork, WorkOutcome, WorkStatus
from service.settings import QueueSettings

logger = structlog.get_logger(__name__)

FULL_DISK_DELAY_SECONDS = 5.0
MISSING_FILES_DELAY_SECONDS = 5.0
CRASH_DELAY_SECONDS = 1.0
NO_BACKOFF = Backoff(0.0, 0.0)


@dataclass(frozen=True)
class Ending:
    """The end of a turn."""

    end: TurnEnd  # for observers
    record: Callable[[Work, ClaimedWork], Awaitable[object]]  # raises LeaseLost, StorageUnavailable


def ending_with(outcome: WorkOutcome) -> Ending:
    """The ending for a handler's outcome. The handler has already recorded a success with its results."""
    return Ending(TurnEnd.SUCCEEDED, _record_nothing) if outcome is WorkOutcome.SUCCEEDED else _returned(0.0)


def ending_by(error: Exception, noun: str, queue: QueueSettings) -> Ending:
    """The ending for a handler's error; logs the error with the item's noun.

    Raises the error again if nothing can be recorded, since the lease or the database is lost.
    """
    match error:
        case StorageFull() | ArtifactsUnavailable() | RewardsUnavailable():
            return _tried_again(error, noun)
        case LeaseLost() | StorageUnavailable():
            raise error
        case BackendUnavailable():
            logger.warning("the backend cannot be reached; the job waits", reason=str(error))
            backoff, wait = Backoff(queue.retry_seconds, queue.max_retry_seconds), error.retry_after_seconds or 0.0
            return _paused(PauseReason.BACKEND_UNAVAILABLE, error, backoff, wait)
        case QuotaExhausted():
            logger.info("the project has no tokens left today; the job waits", reason=str(error))
            return _paused(PauseReason.QUOTA_EXHAUSTED, error, NO_BACKOFF, error.retry_after_seconds)
        case ServiceError():
            message, details = f"the {noun} failed", {"code": type(error).__name__, "message": str(error)}
            logger.error(message, reason=str(error))
            return Ending(TurnEnd.FAILED, lambda work, own: work.finish(own.lease, WorkStatus.FAILED, error=details))
        case _:
            message = f"the {noun} failed unexpectedly"
            logger.error(message, exc_info=error)
            return _returned(CRASH_DELAY_SECONDS, crashed=True)


def _tried_again(error: ServiceError, noun: str) -> Ending:
    """Retry the item soon. It counts as a crash only if a reward model's process died, since that may die again."""
    match error:
        case StorageFull():
            why, ending = "the disk of the database is full", _returned(FULL_DISK_DELAY_SECONDS)
        case ArtifactsUnavailable():
            why, ending = "the files of trainings cannot be reached", _returned(MISSING_FILES_DELAY_SECONDS)
        case _:
            why, ending = "a reward model gives no rewards", _returned(CRASH_DELAY_SECONDS, crashed=True)
    message = f"{why}; the {noun} waits"
    logger.warning(message, reason=str(error))
    return ending


async def _record_nothing(_work: Work, _claimed: ClaimedWork) -> None: ...


def _returned(delay_seconds: float, *, crashed: bool = False) -> Ending:
    """The ending that returns the item to the queue."""
    return Ending(
        TurnEnd.CRASHED if crashed else TurnEnd.GIVEN_BACK,
        lambda work, claimed: work.release(claimed.lease, delay_seconds=delay_seconds, crashed=crashed),
    )


def _paused(reason: PauseReason, error: ServiceError, backoff: Backoff, at_least_seconds: float) -> Ending:
    """The ending that pauses the item's job."""
    return Ending(
        TurnEnd.PAUSED,
        lambda work, claimed: work.pause(
            claimed.lease, reason, str(error), tried=claimed.paused, backoff=backoff, at_least_seconds=at_least_seconds
        ),
    )
