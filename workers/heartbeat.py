"""Renews the lease of a work item while its handler works, and stops the handler if its job must not continue."""

import asyncio
import time

import structlog

from service.errors import LeaseLost, StorageUnavailable
from service.ports.store import Store
from service.records.work import Lease

logger = structlog.get_logger(__name__)

RENEWALS_PER_LEASE = 3


async def keep_lease(store: Store, lease: Lease, lease_seconds: float, stop: asyncio.Event) -> None:
    """Renew the lease three times in its length; return when it is lost. Sets `stop` if the job must not continue.

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
                stop.set()
        except LeaseLost:
            return
        except (StorageUnavailable, TimeoutError) as error:
            logger.warning("the lease could not be renewed", reason=str(error) or "no answer in time")
