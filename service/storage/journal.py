"""What happens to a job as a whole: its events, its status, and who is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.entities import JobStatus, Progress, ShardStatus
from service.identifiers import JobId
from service.storage.lifecycle import (
    WAITING_SHARD,
    ShardCounts,
    job_event,
    settled_status,
)
from service.storage.progress import get_job, job_not_found
from service.storage.tables import events, jobs, shards

WORK_CHANNEL = "icm_work"
EVENTS_CHANNEL = "icm_events"


@dataclass(frozen=True, slots=True)
class LockedJob:
    """A job that nobody else can change until the transaction ends."""

    id: JobId
    status: JobStatus
    cancel_requested: bool

    @property
    def stopping(self) -> bool:
        """Whether no further shard may be begun."""
        return self.cancel_requested or self.status.is_final


class Journal:
    """Changes jobs within the caller's transaction; who listens hears of it when that commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, job_id: JobId, which: ColumnElement[bool] | None = None) -> LockedJob:
        """Keep everybody else from changing the job, where `which` is true of it. Raises JobNotFound."""
        query = select(jobs.c.status, jobs.c.cancel_requested).where(jobs.c.id == job_id)
        if which is not None:
            query = query.where(which)
        query = query.with_for_update(key_share=True)
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise job_not_found(job_id)
        return LockedJob(job_id, JobStatus(row.status), row.cancel_requested)

    async def append(self, job_id: JobId, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event. The number comes from the job's own row, so numbers follow the order of commits."""
        counted = (
            update(jobs)
            .where(jobs.c.id == job_id)
            .values(last_event=jobs.c.last_event + 1)
            .returning(jobs.c.id, jobs.c.last_event)
            .cte("counted")
        )
        written = literal(dict(data), events.c.data.type)
        source = select(counted.c.id, counted.c.last_event, literal(event_type), func.clock_timestamp(), written)
        columns = ["job_id", "sequence", "type", "created_at", "data"]
        added = await self._connection.execute(insert(events).from_select(columns, source))
        if added.rowcount == 0:
            raise job_not_found(job_id)
        await self.notify(EVENTS_CHANNEL, job_id)

    async def notify(self, channel: str, payload: str) -> None:
        """Tell every listener, once the transaction commits."""
        await self._connection.execute(select(func.pg_notify(channel, payload)))

    async def begin(self, job: LockedJob) -> None:
        """The first shard was claimed."""
        if job.status is not JobStatus.QUEUED:
            return
        change = {"status": JobStatus.RUNNING, "started_at": func.coalesce(jobs.c.started_at, func.clock_timestamp())}
        await self._connection.execute(update(jobs).where(jobs.c.id == job.id).values(change))
        await self.append(job.id, "job.running", {"status": JobStatus.RUNNING.value})

    async def request_stop(self, job_id: JobId) -> None:
        """Let no further shard begin."""
        await self._connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))

    async def cancel_waiting(self, job_id: JobId) -> None:
        """Cancel the job's shards that nobody works on, those whose lease has run out among them.

        One that a worker is claiming at this moment is skipped, since waiting for it could
        never end; that worker finds the job stopped and cancels the shard itself.
        """
        idle = or_(
            shards.c.status.in_(WAITING_SHARD),
            (shards.c.status == ShardStatus.RUNNING) & (shards.c.lease_until < func.clock_timestamp()),
        )
        found = (
            select(shards.c.shard)
            .where(shards.c.job_id == job_id, idle)
            .with_for_update(skip_locked=True, key_share=True)
            .cte("found")
        )
        change = (
            update(shards)
            .where(shards.c.job_id == job_id, shards.c.shard.in_(select(found.c.shard)))
            .values(status=ShardStatus.CANCELLED, worker_id=None, lease_until=None)
        )
        await self._connection.execute(change)

    async def unblock(self, job_id: JobId) -> None:
        """Queue the shards that waited for the anchor."""
        blocked = (shards.c.job_id == job_id) & (shards.c.status == ShardStatus.BLOCKED)
        await self._connection.execute(update(shards).where(blocked).values(status=ShardStatus.QUEUED))
        await self.notify(WORK_CHANNEL, job_id)

    async def settle(
        self, job: LockedJob, *, stopping: bool, failed: bool = False, error: Mapping[str, Any] | None = None
    ) -> JobStatus:
        """Give the job the status that its shards, as they are now, call for."""
        if failed or stopping:
            await self.cancel_waiting(job.id)
        counts = await self._count_shards(job.id)
        status = settled_status(job.status, stopping=stopping, failed=failed, shards=counts)
        if status is job.status:
            return status
        change = {"status": status, "finished_at": func.clock_timestamp(), "error": dict(error) if error else None}
        await self._connection.execute(update(jobs).where(jobs.c.id == job.id).values(change))
        await self.append(job.id, f"job.{status}", job_event(status, error, await self.progress(job.id)))
        return status

    async def progress(self, job_id: JobId) -> Progress:
        """The job's progress as this transaction sees it."""
        return (await get_job(self._connection, jobs.c.id == job_id, job_id)).progress

    async def _count_shards(self, job_id: JobId) -> ShardCounts:
        def number(*statuses: ShardStatus) -> Any:
            return func.count().filter(shards.c.status.in_(statuses))

        query = select(
            number(*WAITING_SHARD), number(ShardStatus.RUNNING), number(ShardStatus.SUCCEEDED), func.count()
        ).where(shards.c.job_id == job_id)
        waiting, running, succeeded, total = (await self._connection.execute(query)).one()
        return ShardCounts(waiting, running, succeeded, total)
