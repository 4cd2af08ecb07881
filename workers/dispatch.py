"""Sends what is in the outbox of webhooks, beside labelling, in every worker process."""

import asyncio

import structlog

from service.errors import StorageUnavailable
from service.ports.store import Store
from service.ports.webhooks import Sender
from service.records.webhooks import DueDelivery
from service.settings import WebhookSettings
from service.webhooks.dispatch import deliver

logger = structlog.get_logger(__name__)

AT_ONCE = 16  # tries under way in one worker process
LOOK_SECONDS = 1.0  # between two looks for something to send
PER_WEBHOOK = 4  # tries under way at once to one endpoint, so that a slow one holds up itself and not the others
LEASE_MARGIN_SECONDS = 40.0  # beyond a try's own time: for a database that takes long to hear how it went


class WebhookDispatch:
    """A duty: claims messages that are due and sends them, several at a time."""

    name = "webhooks"

    def __init__(
        self, store: Store, sender: Sender, settings: WebhookSettings, *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._store = store
        self._sender = sender
        self._settings = settings
        self._look_seconds = look_seconds

    async def turn(self) -> float:
        """Send what is due until nothing is left; the seconds until the next look. Raises StorageUnavailable.

        While slow ones are under way, others that come are taken up beside them.
        """
        under_way: set[asyncio.Task[None]] = set()
        try:
            while True:
                under_way |= {asyncio.create_task(self._deliver(due)) for due in await self._claim(len(under_way))}
                if not under_way:
                    return self._look_seconds
                _, under_way = await asyncio.wait(
                    under_way, timeout=self._look_seconds, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _claim(self, under_way: int) -> list[DueDelivery]:
        """As many messages as there is room for."""
        free = AT_ONCE - under_way
        if free <= 0:
            return []
        lease_seconds = self._settings.timeout_seconds + LEASE_MARGIN_SECONDS
        async with self._store.worker_unit() as unit:
            return list(await unit.deliveries.claim(limit=free, per_webhook=PER_WEBHOOK, lease_seconds=lease_seconds))

    async def _deliver(self, due: DueDelivery) -> None:
        """One try; whatever goes wrong, the lease runs out and the message is sent again."""
        try:
            await deliver(self._store, self._sender, due)
        except StorageUnavailable as error:
            logger.warning("how a delivery went could not be recorded", reason=str(error))
        except Exception:
            logger.exception("a delivery failed unexpectedly", delivery=due.lease.delivery_id)
