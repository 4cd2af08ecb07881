"""Renews a worker's lease while it works, and tells it to stop when it must."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from service.entities import Lease
from service.errors import LeaseLost, StorageUnavailable
from service.ports import Store

logger = structlog.get_logger(__name__)

RENEWALS_PER_LEASE = 3


@dataclass
class Pulse:
    """What the heart has heard: `stop` is set when the work must end, the flags say why."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False
    lost: bool = False


@asynccontextmanager
async def heartbeat(store: Store, lease: Lease, lease_seconds: float, pulse: Pulse) -> AsyncIterator[None]:
    """Renew the lease every third of its length for as long as the body runs.

    A lost lease cancels the body at once, since another worker may be writing already; a
    lease that could not be renewed before it ran out counts as lost.
    """
    body = asyncio.current_task()
    if body is None:
        raise RuntimeError("a heartbeat beats for a task")
    beating = asyncio.create_task(_beat(store, lease, lease_seconds, pulse, body))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def _beat(store: Store, lease: Lease, lease_seconds: float, pulse: Pulse, body: "asyncio.Task[object]") -> None:
    renewed = time.monotonic()
    while True:
        await asyncio.sleep(lease_seconds / RENEWALS_PER_LEASE)
        try:
            async with store.workbench() as unit:
                pulse.cancelled |= await unit.shards.renew(lease, lease_seconds)
            renewed = time.monotonic()
        except StorageUnavailable as error:
            logger.warning("lease could not be renewed", reason=str(error))
            pulse.lost |= time.monotonic() - renewed >= lease_seconds
        except LeaseLost:
            pulse.lost = True
        if pulse.lost:
            body.cancel()
            return
        if pulse.cancelled:
            pulse.stop.set()
