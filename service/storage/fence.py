"""The fence: no worker writes under a lease that is no longer its own."""

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.entities import Lease, ShardStatus
from service.errors import LeaseLost
from service.storage.tables import shards


def holds(lease: Lease) -> ColumnElement[bool]:
    """True of the leased shard as long as the lease stands."""
    return and_(
        shards.c.job_id == lease.job_id,
        shards.c.shard == lease.shard,
        shards.c.epoch == lease.epoch,
        shards.c.worker_id == lease.worker_id,
        shards.c.status == ShardStatus.RUNNING,
    )


async def hold(connection: AsyncConnection, lease: Lease) -> int:
    """Keep the shard from being claimed until the transaction ends; its crashes so far. Raises LeaseLost."""
    query = select(shards.c.crashes).where(holds(lease)).with_for_update(key_share=True)
    crashes = (await connection.execute(query)).scalar()
    if crashes is None:
        raise lease_lost(lease)
    return int(crashes)


def lease_lost(lease: Lease) -> LeaseLost:
    """The error for a write that came too late."""
    return LeaseLost(f"{lease.worker_id} no longer holds shard {lease.shard} of {lease.job_id} (epoch {lease.epoch})")
