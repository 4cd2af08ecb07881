"""Jobs as the API sees them: those of one project."""

from collections.abc import Sequence

from sqlalchemy import delete, exists, func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from service.entities import Job, JobStatus, NewJob, NewShard, ShardStatus
from service.errors import JobFinished, WrongState
from service.identifiers import JobId, ProjectName
from service.storage.journal import WORK_CHANNEL, Journal
from service.storage.lifecycle import parsed_time
from service.storage.progress import get_job, job_from, job_not_found, owned, select_jobs
from service.storage.tables import datasets, idempotency_keys, jobs, shards


class JobTable:
    """A project's jobs with their shards; adding one queues it in the same transaction."""

    def __init__(self, connection: AsyncConnection, project: ProjectName) -> None:
        self._connection = connection
        self._project = project
        self._journal = Journal(connection)

    async def add(self, job: NewJob, new_shards: Sequence[NewShard]) -> None:
        """Store a job as of now and queue its shards; workers are notified when the transaction commits."""
        values = {
            "id": job.id,
            "project": self._project,
            "dataset_id": job.dataset_id,
            "config": job.config.model_dump(mode="json"),
            "status": JobStatus.QUEUED,
            "created_at": func.now(),
            "backend_id": job.backend_id,
        }
        await self._connection.execute(insert(jobs).values(values))
        queued = [
            {
                "job_id": job.id,
                "shard": shard.index,
                "rows": shard.rows,
                "status": ShardStatus.BLOCKED if shard.blocked else ShardStatus.QUEUED,
            }
            for shard in new_shards
        ]
        await self._connection.execute(insert(shards).values(queued_at=func.now()), queued)
        size = {"rows": sum(shard.rows for shard in new_shards), "shards": len(new_shards)}
        await self._journal.append(job.id, "job.created", size)
        await self._journal.notify(WORK_CHANNEL, job.id)

    async def get(self, job_id: JobId) -> Job:
        """The job with its progress summed over shards. Raises JobNotFound."""
        return await get_job(self._connection, owned(job_id, self._project), job_id)

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Job]:
        """Jobs, newest first, older than the (created_at, id) given. Raises InvalidCursor."""
        query = select_jobs().where(jobs.c.project == self._project)
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        if before is not None:
            created_at, job_id = before
            query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(parsed_time(created_at), job_id))
        if status is not None:
            query = query.where(jobs.c.status == status)
        return [job_from(row) for row in (await self._connection.execute(query)).mappings()]

    async def request_cancel(self, job_id: JobId) -> Job:
        """Ask for the job to stop. Repeated, the same answer. Raises JobNotFound, JobFinished."""
        job = await self._journal.lock(job_id, owned(job_id, self._project))
        if job.status.is_final and job.status is not JobStatus.CANCELLED:
            raise JobFinished(f"job {job_id} has already ended: {job.status}")
        if not job.stopping:
            await self._journal.request_stop(job_id)
            await self._journal.append(job_id, "job.cancel_requested", {})
        await self._journal.settle(job, stopping=True)
        return await self.get(job_id)

    async def remove(self, job_id: JobId) -> None:
        """Delete a finished job with its rows, labels and events. Raises JobNotFound, WrongState."""
        own = select(jobs.c.id).where(owned(job_id, self._project))
        held = select(shards.c.shard).where(shards.c.job_id.in_(own)).order_by(shards.c.shard).with_for_update()
        await self._connection.execute(held)  # before the job, as workers do, or both could wait forever
        job = await self._journal.lock(job_id, owned(job_id, self._project))
        if not job.status.is_final:
            raise WrongState(f"job {job_id} is {job.status}; cancel it before deleting it")
        gone = delete(jobs).where(jobs.c.id == job_id).returning(jobs.c.dataset_id)
        dataset_id = (await self._connection.execute(gone)).scalar_one()
        still_used = exists().where(jobs.c.dataset_id == dataset_id)
        await self._connection.execute(delete(datasets).where(datasets.c.id == dataset_id, ~still_used))
        await self._connection.execute(delete(idempotency_keys).where(idempotency_keys.c.job_id == job_id))

    async def columns(self, job_id: JobId) -> tuple[tuple[str, ...], str | None]:
        """The data set's columns in the user's order, and the name of its gold column. Raises JobNotFound."""
        query = (
            select(datasets.c.columns, datasets.c.gold_field)
            .join(jobs, jobs.c.dataset_id == datasets.c.id)
            .where(owned(job_id, self._project))
        )
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise job_not_found(job_id)
        return tuple(row.columns), row.gold_field
