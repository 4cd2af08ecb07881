"""What a worker process does beside labelling: each duty again and again, by itself."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from service.errors import StorageUnavailable

logger = structlog.get_logger(__name__)

RETRY_SECONDS = 5.0  # after a turn that failed


class PeriodicTask(Protocol):
    """Something to be done every now and then, whichever worker process does it."""

    @property
    def name(self) -> str:
        """What the log calls it."""

    async def turn(self) -> float:
        """Do what there is to do; the seconds until the next turn. Raises StorageUnavailable."""


async def attend(duties: Sequence[PeriodicTask]) -> None:
    """Do every duty, turn after turn, until cancelled; what fails is tried again, and the others go on."""
    async with asyncio.TaskGroup() as group:
        for duty in duties:
            group.create_task(_attend(duty), name=duty.name)


async def _attend(duty: PeriodicTask) -> None:
    while True:
        pause_seconds = await _turn(duty)
        await asyncio.sleep(pause_seconds)


async def _turn(duty: PeriodicTask) -> float:
    """One turn, and how long to wait after it."""
    try:
        return await duty.turn()
    except StorageUnavailable as error:
        logger.warning("the database cannot be reached", duty=duty.name, reason=str(error))
    except Exception:
        logger.exception("a duty failed unexpectedly", duty=duty.name)
    return RETRY_SECONDS
