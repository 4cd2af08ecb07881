"""Deletes a job and all its data from Postgres."""

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId
from service.storage.tables import datasets, idempotency_keys, jobs, labellings, work_items


async def lock_items(connection: AsyncConnection, which: ColumnElement[bool]) -> None:
    """Lock the work items of the job of which `which` is true. Do so before locking the job, or it could deadlock."""
    own = select(jobs.c.id).where(which)
    locked = (
        select(work_items.c.number).where(work_items.c.job_id.in_(own)).order_by(work_items.c.number).with_for_update()
    )
    await connection.execute(locked)


async def erase(connection: AsyncConnection, job_id: JobId) -> None:
    """Delete a job whose work items are locked. Foreign keys delete its rows in other tables, and its data set's."""
    of_job = select(labellings.c.dataset_id).where(labellings.c.job_id == job_id)
    dataset_id = await connection.scalar(of_job)  # None for a training
    await connection.execute(delete(jobs).where(jobs.c.id == job_id))
    still_used = exists().where(labellings.c.dataset_id == dataset_id)
    await connection.execute(delete(datasets).where(datasets.c.id == dataset_id, ~still_used))
    await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.job_id == job_id))
