"""Removes a job with all that belongs to it."""

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId
from service.storage.tables import datasets, idempotency_keys, jobs, shards


async def hold_shards(connection: AsyncConnection, which: ColumnElement[bool]) -> None:
    """Lock the shards of the job of which this is true: before the job, as workers do, or both could wait forever."""
    own = select(jobs.c.id).where(which)
    held = select(shards.c.shard).where(shards.c.job_id.in_(own)).order_by(shards.c.shard).with_for_update()
    await connection.execute(held)


async def erase(connection: AsyncConnection, job_id: JobId) -> None:
    """Delete a job whose shards are held; every table with a foreign key to it, or to its data set, follows."""
    gone = delete(jobs).where(jobs.c.id == job_id).returning(jobs.c.dataset_id)
    dataset_id = (await connection.execute(gone)).scalar_one()
    still_used = exists().where(jobs.c.dataset_id == dataset_id)
    await connection.execute(delete(datasets).where(datasets.c.id == dataset_id, ~still_used))
    await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.job_id == job_id))
