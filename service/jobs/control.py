"""Use cases by which people pause, resume, cancel and delete a job (docs/decisions/0018).

Workers learn of a pause or a cancellation when they next renew their lease. No use case needs a job's configuration, so
they also serve jobs whose configuration another release has stored.
"""

from service.identifiers import JobId
from service.ports.store import ProjectStore
from service.records.access import AuditAction, AuditEntry
from service.records.jobs import ListedJob


async def pause(store: ProjectStore, job_id: JobId) -> ListedJob:
    """Pause a job until a person resumes it. Raises JobNotFound and JobFinished."""
    async with store.project_unit() as unit:
        job = await unit.jobs.pause(job_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.JOB_PAUSED, job_id))
    return job


async def resume(store: ProjectStore, job_id: JobId) -> ListedJob:
    """Resume a paused job, also one that waits for its backend or for tokens. Raises JobNotFound and JobFinished."""
    async with store.project_unit() as unit:
        job = await unit.jobs.resume(job_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.JOB_RESUMED, job_id))
    return job


async def cancel(store: ProjectStore, job_id: JobId) -> ListedJob:
    """Cancel a job. Raises JobNotFound and JobFinished."""
    async with store.project_unit() as unit:
        job = await unit.jobs.request_cancel(job_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.JOB_CANCELLED, job_id))
    return job


async def remove(store: ProjectStore, job_id: JobId) -> None:
    """Delete a finished job with all its data. Raises JobNotFound and WrongState."""
    async with store.project_unit() as unit:
        await unit.jobs.remove(job_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.JOB_DELETED, job_id))
