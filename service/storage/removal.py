"""Removes a job with all that belongs to it."""

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId
from service.storage.tables import datasets, idempotency_keys, jobs, labellings, work_items


async def hold_items(connection: AsyncConnection, which: ColumnElement[bool]) -> None:
    """Lock the items of the job of which this is true: before the job, as workers do, or both could wait forever."""
    own = select(jobs.c.id).where(which)
    held = (
        select(work_items.c.number).where(work_items.c.job_id.in_(own)).order_by(work_items.c.number).with_for_update()
    )
    await connection.execute(held)


async def erase(connection: AsyncConnection, job_id: JobId) -> None:
    """Delete a job whose work items are held; every table with a foreign key to it, or to its data set, follows."""
    of_job = select(labellings.c.dataset_id).where(labellings.c.job_id == job_id)
    dataset_id = (await connection.execute(of_job)).scalar()  # none where the job does not label
    await connection.execute(delete(jobs).where(jobs.c.id == job_id))
    still_used = exists().where(labellings.c.dataset_id == dataset_id)
    await connection.execute(delete(datasets).where(datasets.c.id == dataset_id, ~still_used))
    await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.job_id == job_id))
