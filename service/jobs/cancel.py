"""Stops and removes jobs."""

from service.entities import AuditAction, AuditEntry, Job
from service.identifiers import JobId
from service.ports import Desks


async def cancel(store: Desks, job_id: JobId) -> Job:
    """Ask for a job to stop; workers notice when they renew their lease. Raises JobNotFound and JobFinished."""
    async with store.desk() as desk:
        job = await desk.jobs.request_cancel(job_id)
        await desk.audit.record(AuditEntry.by(store.caller, AuditAction.JOB_CANCELLED, job_id))
    return job


async def remove(store: Desks, job_id: JobId) -> None:
    """Delete a finished job with all that belongs to it. Raises JobNotFound and WrongState."""
    async with store.desk() as desk:
        await desk.jobs.remove(job_id)
        await desk.audit.record(AuditEntry.by(store.caller, AuditAction.JOB_DELETED, job_id))
