"""Stops and removes jobs."""

from service.entities import Job
from service.identifiers import JobId
from service.ports import Store


async def cancel(store: Store, job_id: JobId) -> Job:
    """Ask for a job to stop; workers notice when they renew their lease. Raises JobNotFound and JobFinished."""
    async with store.desk() as desk:
        return await desk.jobs.request_cancel(job_id)


async def remove(store: Store, job_id: JobId) -> None:
    """Delete a finished job with all that belongs to it. Raises JobNotFound and WrongState."""
    async with store.desk() as desk:
        await desk.jobs.remove(job_id)
