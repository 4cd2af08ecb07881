"""Runs the periodic tasks of a worker process, such as retention and webhooks, beside its work items."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from service.errors import StorageUnavailable

logger = structlog.get_logger(__name__)

RETRY_SECONDS = 5.0  # after a failed run


class PeriodicTask(Protocol):
    """A task that worker processes repeat."""

    @property
    def name(self) -> str:
        """The task's name in the log."""

    async def run_once(self) -> float:
        """Run the task once; returns the seconds until the next run. Raises StorageUnavailable."""


async def run_forever(tasks: Sequence[PeriodicTask]) -> None:
    """Repeat every task until cancelled; a task that fails runs again later and does not stop the others."""
    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(_repeat(task), name=task.name)


async def _repeat(task: PeriodicTask) -> None:
    while True:
        pause_seconds = await _run_once(task)
        await asyncio.sleep(pause_seconds)


async def _run_once(task: PeriodicTask) -> float:
    """Run the task once; returns the seconds to wait after it."""
    try:
        return await task.run_once()
    except StorageUnavailable as error:
        logger.warning("the database cannot be reached", task=task.name, reason=str(error))
    except Exception:
        logger.exception("a periodic task failed unexpectedly", task=task.name)
    return RETRY_SECONDS
