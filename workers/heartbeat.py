"""Renews the lease of a work item while its handler works, and stops the handler if its job must not go on."""

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from service.errors import LeaseLost, StorageUnavailable
from service.ports.store import Store
from service.records.work import Lease

logger = structlog.get_logger(__name__)

RENEWALS_PER_LEASE = 3


@dataclass
class LeaseMonitor:
    """Signals to a handler: `stop` is set when the worker must release the work item."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)


async def keep_lease(store: Store, lease: Lease, lease_seconds: float, monitor: LeaseMonitor) -> None:
    """Renew the lease three times in its length; return when it is lost.

    A lease that could not be renewed before it expired counts as lost, since another worker may have claimed the item.
    """
    pause = lease_seconds / RENEWALS_PER_LEASE
    renewed = time.monotonic()
    while time.monotonic() - renewed < lease_seconds:
        await asyncio.sleep(pause)
        began = time.monotonic()
        try:
            async with asyncio.timeout(pause), store.worker_unit() as unit:
                must_stop = await unit.work.renew(lease, lease_seconds)
            renewed = began
            if must_stop:
                monitor.stop.set()
        except LeaseLost:
            return
        except (StorageUnavailable, TimeoutError) as error:
            logger.warning("the lease could not be renewed", reason=str(error) or "no answer in time")
