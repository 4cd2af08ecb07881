"""The periodic task that releases locks of stopped processes, by ending their transactions."""

from datetime import timedelta

import structlog

from service.ports.store import Store

logger = structlog.get_logger(__name__)

STALLED_SECONDS = 10.0  # the same time-out as `idle_in_transaction_session_timeout`
EVERY_SECONDS = 5.0


class Unblocking:
    """Ends transactions of processes that were stopped, swapped out or cut off within one, and so keep their locks.

    The lease of such a process's work item has expired by then, but nobody can claim a locked item.
    """

    name = "unblocking"

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run_once(self) -> float:
        """End stalled transactions; returns the seconds until the next run. Raises StorageUnavailable."""
        async with self._store.maintenance_unit() as unit:
            ended = await unit.end_stalled_transactions(timedelta(seconds=STALLED_SECONDS))
        if ended:
            logger.warning("ended transactions of processes that have stopped", transactions=ended)
        return EVERY_SECONDS
