"""The periodic task that sends due webhook messages of the outbox; every worker process runs it."""

import asyncio

import structlog

from service.errors import StorageUnavailable
from service.ports.store import Store
from service.ports.webhooks import Sender
from service.records.webhooks import DueDelivery
from service.settings import WebhookSettings
from service.webhooks.dispatch import deliver

logger = structlog.get_logger(__name__)

MAX_CONCURRENT = 16  # attempts in one worker process
POLL_SECONDS = 1.0  # between two queries for due messages
PER_WEBHOOK = 4  # concurrent attempts to one endpoint, so that a slow one does not delay the others
LEASE_MARGIN_SECONDS = 40.0  # beyond an attempt's own time-out, since a slow database may record the result late


class WebhookDispatch:
    """Claims due messages and sends them, several at a time."""

    name = "webhooks"

    def __init__(
        self, store: Store, sender: Sender, settings: WebhookSettings, *, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._store = store
        self._sender = sender
        self._settings = settings
        self._poll_seconds = poll_seconds

    async def run_once(self) -> float:
        """Send due messages until none is left; returns the seconds until the next run. Raises StorageUnavailable.

        While slow attempts are running, it claims and sends newer messages beside them.
        """
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                running |= {asyncio.create_task(self._deliver(due)) for due in await self._claim(len(running))}
                if not running:
                    return self._poll_seconds
                _, running = await asyncio.wait(
                    running, timeout=self._poll_seconds, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _claim(self, running: int) -> list[DueDelivery]:
        """Claim as many messages as may be sent beside the running ones."""
        free = MAX_CONCURRENT - running
        if free <= 0:
            return []
        lease_seconds = self._settings.timeout_seconds + LEASE_MARGIN_SECONDS
        async with self._store.worker_unit() as unit:
            return list(await unit.deliveries.claim(limit=free, per_webhook=PER_WEBHOOK, lease_seconds=lease_seconds))

    async def _deliver(self, due: DueDelivery) -> None:
        """Make one attempt. After an unexpected error the lease expires, and a worker sends the message again."""
        try:
            await deliver(self._store, self._sender, due)
        except StorageUnavailable as error:
            logger.warning("the result of a delivery could not be recorded", reason=str(error))
        except Exception:
            logger.exception("a delivery failed unexpectedly", delivery=due.lease.delivery_id)
