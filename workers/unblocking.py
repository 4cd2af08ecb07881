"""The duty of freeing what a stopped process has locked; whichever worker process comes first does it."""

from datetime import timedelta

import structlog

from service.ports.store import Store

logger = structlog.get_logger(__name__)

STALLED_SECONDS = 10.0  # as long as Postgres itself lets a transaction wait for its next statement
EVERY_SECONDS = 5.0


class Unblocking:
    """Ends transactions that a process has left half-way: paused, swapped out or cut off, it may hold locks for good.

    The lease of its work item has run out by then, but nobody can claim an item that is locked.
    """

    name = "unblocking"

    def __init__(self, store: Store) -> None:
        self._store = store

    async def turn(self) -> float:
        """End those that there are; the seconds until the next turn. Raises StorageUnavailable."""
        async with self._store.maintenance_unit() as unit:
            ended = await unit.end_stalled_transactions(timedelta(seconds=STALLED_SECONDS))
        if ended:
            logger.warning("ended transactions of processes that have stopped", transactions=ended)
        return EVERY_SECONDS
