"""The fence: no worker writes under a lease that is no longer its own."""

from sqlalchemy import ColumnElement, RowMapping, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import LeaseLost
from service.lifecycle import ShardState
from service.records.jobs import Lease, ShardStatus
from service.storage.tables import shards

SHARD_STATE = (
    shards.c.job_id,
    shards.c.shard,
    shards.c.rows,
    shards.c.status,
    shards.c.epoch,
    shards.c.worker_id,
    shards.c.lease_until,
    shards.c.run_after,
    shards.c.crashes,
)


def holds(lease: Lease) -> ColumnElement[bool]:
    """True of the leased shard as long as the lease stands."""
    return and_(
        shards.c.job_id == lease.job_id,
        shards.c.shard == lease.shard,
        shards.c.epoch == lease.epoch,
        shards.c.worker_id == lease.worker_id,
        shards.c.status == ShardStatus.RUNNING,
    )


async def hold(connection: AsyncConnection, lease: Lease) -> ShardState:
    """Keep the shard from being claimed until the transaction ends. Raises LeaseLost."""
    query = select(*SHARD_STATE).where(holds(lease)).with_for_update(key_share=True)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise lease_lost(lease)
    return shard_state(row)


def shard_state(row: RowMapping) -> ShardState:
    """The shard told by the columns of `SHARD_STATE`."""
    return ShardState(**{**row, "status": ShardStatus(row["status"])})


def lease_lost(lease: Lease) -> LeaseLost:
    """The error for a write that came too late."""
    return LeaseLost(f"{lease.worker_id} no longer holds shard {lease.shard} of {lease.job_id} (epoch {lease.epoch})")
