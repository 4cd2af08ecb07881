"""Stores a project's labelling jobs in Postgres: the API creates, reads, controls and deletes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId, ProjectName
from service.lifecycle import JobState
from service.lifecycle.events import CancelRequested, DeleteRequested, JobEvent, PauseRequested, ResumeRequested
from service.records.jobs import Job, JobStatus, ListedJob, NewJob, NewShard
from service.records.work import NewWork, WorkStatus
from service.storage.journal import Journal
from service.storage.progress import (
    get_job,
    get_listed_job,
    job_not_found,
    listed_job_from,
    newest_first,
    owned,
    select_jobs,
)
from service.storage.removal import erase, lock_items
from service.storage.stored_config import stored_config
from service.storage.tables import datasets, jobs, labellings, shards, work_items
from service.storage.unit_parts import ProjectPart
from service.storage.work_queue import queue_job


class JobTable(ProjectPart):
    """A project's labelling jobs with their shards. Adding a job also queues its shards."""

    def __init__(self, connection: AsyncConnection, project: ProjectName) -> None:
        super().__init__(connection, project)
        self._journal = Journal(connection)

    async def add(self, job: NewJob, new_shards: Sequence[NewShard]) -> None:
        """Store a new job and queue its shards; Postgres notifies workers when the transaction commits."""
        state = JobState(id=job.id, name=job.config.name, status=JobStatus.QUEUED)
        items = [NewWork(number=one.index, payload={"rows": one.rows}, blocked=one.blocked) for one in new_shards]
        size = {"rows": sum(shard.rows for shard in new_shards), "shards": len(new_shards)}
        await queue_job(
            self._connection, self._project, state, items, size=size, warnings=job.warnings, origin=job.origin
        )
        config = stored_config(job.config)
        own = {"job_id": job.id, "dataset_id": job.dataset_id, "config": config, "backend_id": job.backend_id}
        await self._connection.execute(insert(labellings).values(own))
        rows = [{"job_id": job.id, "shard": shard.index, "rows": shard.rows} for shard in new_shards]
        await self._connection.execute(insert(shards), rows)

    async def get(self, job_id: JobId) -> Job:
        """The job, with its progress summed over its shards. Raises JobNotFound."""
        return await get_job(self._connection, owned(job_id, self._project), job_id)

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[ListedJob]:
        """Jobs, newest first, older than the (created_at, id) given. Raises InvalidCursor."""
        query = newest_first(select_jobs(), self._project, limit=limit, before=before, status=status)
        return [listed_job_from(row) for row in (await self._connection.execute(query)).mappings()]

    async def request_cancel(self, job_id: JobId) -> ListedJob:
        """Cancel the job. A repeated call returns the same job. Raises JobNotFound, JobFinished."""
        return await self._apply_event(job_id, CancelRequested())

    async def pause(self, job_id: JobId) -> ListedJob:
        """Pause the job until a person resumes it. A repeated call changes nothing. Raises JobNotFound, JobFinished."""
        return await self._apply_event(job_id, PauseRequested())

    async def resume(self, job_id: JobId) -> ListedJob:
        """Resume a paused job. A repeated call changes nothing. Raises JobNotFound, JobFinished."""
        return await self._apply_event(job_id, ResumeRequested())

    async def remove(self, job_id: JobId) -> None:
        """Delete a finished job with all its data. Raises JobNotFound, WrongState."""
        await lock_items(self._connection, owned(job_id, self._project))
        await self._journal.apply_event(job_id, DeleteRequested(), owned(job_id, self._project))
        await erase(self._connection, job_id)

    async def columns(self, job_id: JobId) -> tuple[tuple[str, ...], str | None]:
        """The data set's columns in the user's order, and the name of its gold column. Raises JobNotFound."""
        row = await self._of_dataset(job_id, datasets.c.columns, datasets.c.gold_field)
        return tuple(row.columns), row.gold_field

    async def summaries(self, job_id: JobId) -> dict[int, Mapping[str, Any] | None]:
        """The search summary of each shard that succeeded. Raises JobNotFound."""
        done = (work_items.c.job_id == jobs.c.id) & (work_items.c.status == WorkStatus.SUCCEEDED)
        own = (shards.c.job_id == work_items.c.job_id) & (shards.c.shard == work_items.c.number)
        query = (
            select(shards.c.shard, shards.c.summary)
            .select_from(jobs.outerjoin(work_items, done).outerjoin(shards, own))
            .where(owned(job_id, self._project))
            .order_by(shards.c.shard)
        )
        found = (await self._connection.execute(query)).all()
        if not found:
            raise job_not_found(job_id)
        return {row.shard: row.summary for row in found if row.shard is not None}

    async def arrow_schema(self, job_id: JobId) -> bytes | None:
        """The data set's column types as an Arrow stream; None if its file had none. Raises JobNotFound."""
        [schema] = await self._of_dataset(job_id, datasets.c.arrow_schema)
        return None if schema is None else bytes(schema)

    async def _apply_event(self, job_id: JobId, event: JobEvent) -> ListedJob:
        """Apply a person's request to the job; returns the changed job, as far as this release can read it."""
        own = owned(job_id, self._project)
        await self._journal.apply_event(job_id, event, own)
        return await get_listed_job(self._connection, own, job_id)

    async def _of_dataset(self, job_id: JobId, *columns: ColumnElement[Any]) -> Row[Any]:
        """These columns of the job's data set. Raises JobNotFound."""
        query = (
            select(*columns)
            .join_from(datasets, labellings, labellings.c.dataset_id == datasets.c.id)
            .join(jobs, jobs.c.id == labellings.c.job_id)
            .where(owned(job_id, self._project))
        )
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise job_not_found(job_id)
        return row
