"""Jobs as the API sees them: those of one project."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId, ProjectName
from service.lifecycle import created, decide_job
from service.lifecycle.events import CancelAsked, DeleteAsked, JobEvent, PauseAsked, ResumeAsked
from service.records.jobs import Job, JobStatus, NewJob, NewShard, ShardStatus
from service.storage.journal import WORK_CHANNEL, Journal
from service.storage.progress import get_job, job_from, job_not_found, owned, select_jobs
from service.storage.records import parsed_time
from service.storage.removal import erase, hold_shards
from service.storage.tables import datasets, jobs, shards


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
            "warnings": list(job.warnings),
            "request_id": job.origin.request_id,
            "traceparent": job.origin.traceparent,
        }
        stored = insert(jobs).values(values).returning(func.clock_timestamp())
        now = (await self._connection.execute(stored)).scalar_one()
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
        await self._journal.append(job.id, created(job, new_shards, now))
        await self._journal.notify(WORK_CHANNEL, job.id)

    async def get(self, job_id: JobId) -> Job:
        """The job with its progress summed over shards. Raises JobNotFound."""
        return await get_job(self._connection, owned(job_id, self._project), job_id)

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Job]:
        """Jobs, newest first, older than the (created_at, id) given. Raises InvalidCursor."""
        query = select_jobs().where(jobs.c.project == self._project, jobs.c.retired_at.is_(None))
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        if before is not None:
            created_at, job_id = before
            query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(parsed_time(created_at), job_id))
        if status is not None:
            query = query.where(jobs.c.status == status)
        return [job_from(row) for row in (await self._connection.execute(query)).mappings()]

    async def request_cancel(self, job_id: JobId) -> Job:
        """Ask for the job to stop. Repeated, the same answer. Raises JobNotFound, JobFinished."""
        return await self._happen(job_id, CancelAsked())

    async def pause(self, job_id: JobId) -> Job:
        """Let the job wait until a person resumes it. Repeated, the same answer. Raises JobNotFound, JobFinished."""
        return await self._happen(job_id, PauseAsked())

    async def resume(self, job_id: JobId) -> Job:
        """Let a paused job go on. Repeated, the same answer. Raises JobNotFound, JobFinished."""
        return await self._happen(job_id, ResumeAsked())

    async def remove(self, job_id: JobId) -> None:
        """Delete a finished job with all that belongs to it. Raises JobNotFound, WrongState."""
        await hold_shards(self._connection, owned(job_id, self._project))
        await self._happen(job_id, DeleteAsked())
        await erase(self._connection, job_id)

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

    async def summaries(self, job_id: JobId) -> dict[int, Mapping[str, Any] | None]:
        """What each shard that succeeded says of its search. Raises JobNotFound."""
        query = (
            select(shards.c.shard, shards.c.summary)
            .select_from(
                jobs.outerjoin(shards, (shards.c.job_id == jobs.c.id) & (shards.c.status == ShardStatus.SUCCEEDED))
            )
            .where(owned(job_id, self._project))
            .order_by(shards.c.shard)
        )
        found = (await self._connection.execute(query)).all()
        if not found:
            raise job_not_found(job_id)
        return {row.shard: row.summary for row in found if row.shard is not None}

    async def arrow_schema(self, job_id: JobId) -> bytes | None:
        """The types of the data set's columns where its file had them, as an Arrow stream. Raises JobNotFound."""
        query = (
            select(datasets.c.arrow_schema)
            .join(jobs, jobs.c.dataset_id == datasets.c.id)
            .where(owned(job_id, self._project))
        )
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise job_not_found(job_id)
        return None if row.arrow_schema is None else bytes(row.arrow_schema)

    async def _happen(self, job_id: JobId, event: JobEvent) -> Job:
        """Let what a person asks for happen; the job as it is afterwards."""
        job, now = await self._journal.lock(job_id, owned(job_id, self._project))
        await self._journal.apply(decide_job(job, event, now=now))
        return await self.get(job_id)
