"""What happens to a job as a whole: its events, its status, and who is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, extract, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.entities import Backoff, JobStatus, PauseReason, Progress, ShardStatus
from service.identifiers import JobId
from service.storage.lifecycle import (
    PAUSED_ON_REQUEST,
    WAITING_SHARD,
    ShardCounts,
    job_error,
    job_event,
    paused_event,
    resumed_event,
    resumed_status,
    settled_status,
)
from service.storage.outbox import queue_messages
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
    tries: int  # to reach its backend in vain, since a shard was saved last
    waits: bool  # paused, and it is too early to look whether it can go on
    pause_reason: PauseReason | None
    has_begun: bool  # a shard of it was claimed

    @property
    def stopping(self) -> bool:
        """Whether no further shard may be begun."""
        return self.cancel_requested or self.status.is_final

    @property
    def is_on_hold(self) -> bool:
        """Whether a person has paused it, so that only a person lets it go on."""
        return self.pause_reason is PauseReason.REQUESTED


def may_be_tried() -> ColumnElement[bool]:
    """True of a job that is not paused, and of one whose wait is over."""
    waits_over = func.coalesce(jobs.c.retry_at <= func.now(), literal(value=False))
    return or_(jobs.c.status != JobStatus.PAUSED, waits_over)


def is_on_hold() -> ColumnElement[bool]:
    """True of a job that a person has paused."""
    return func.coalesce(jobs.c.pause_reason == PauseReason.REQUESTED, literal(value=False))


def pause_so_far() -> ColumnElement[float]:
    """Seconds that the job has been paused just now; 0 where it is not."""
    lasted = extract("epoch", func.clock_timestamp() - jobs.c.paused_at)
    return case((jobs.c.paused_at.is_not(None), lasted), else_=0.0)


def without_pause() -> dict[str, Any]:
    """The values of a job whose pause, if there is one, is over; before its beginning there is nothing to count."""
    seconds = jobs.c.paused_seconds + case((jobs.c.started_at.is_not(None), pause_so_far()), else_=0.0)
    return {"pause_reason": None, "paused_at": None, "retry_at": None, "paused_seconds": seconds}


class Journal:
    """Changes jobs within the caller's transaction; who listens hears of it when that commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, job_id: JobId, which: ColumnElement[bool] | None = None) -> LockedJob:
        """Keep everybody else from changing the job, where `which` is true of it. Raises JobNotFound."""
        waits, has_begun = (~may_be_tried()).label("waits"), jobs.c.started_at.is_not(None).label("has_begun")
        told = (jobs.c.status, jobs.c.cancel_requested, jobs.c.tries, waits, jobs.c.pause_reason, has_begun)
        query = select(*told).where(jobs.c.id == job_id)
        if which is not None:
            query = query.where(which)
        query = query.with_for_update(key_share=True)
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise job_not_found(job_id)
        reason = None if row.pause_reason is None else PauseReason(row.pause_reason)
        status = JobStatus(row.status)
        return LockedJob(job_id, status, row.cancel_requested, row.tries, row.waits, reason, row.has_begun)

    async def append(
        self, job_id: JobId, event_type: str, data: Mapping[str, Any], *, change: Mapping[str, Any] | None = None
    ) -> None:
        """Add an event, and change in the same statement what it tells of. Raises JobNotFound.

        The number comes from the job's own row, so numbers follow the order of commits.
        """
        counted = (
            update(jobs)
            .where(jobs.c.id == job_id)
            .values({"last_event": jobs.c.last_event + 1, **(change or {})})
            .returning(jobs.c.id, jobs.c.last_event)
            .cte("counted")
        )
        written = literal(dict(data), events.c.data.type)
        source = select(counted.c.id, counted.c.last_event, literal(event_type), func.clock_timestamp(), written)
        columns = ["job_id", "sequence", "type", "created_at", "data"]
        told = insert(events).from_select(columns, source).returning(func.pg_notify(EVENTS_CHANNEL, events.c.job_id))
        if (await self._connection.execute(told)).first() is None:
            raise job_not_found(job_id)
        await queue_messages(self._connection, job_id, event_type)

    async def notify(self, channel: str, payload: str) -> None:
        """Tell every listener, once the transaction commits."""
        await self._connection.execute(select(func.pg_notify(channel, payload)))

    async def begin(self, job: LockedJob) -> None:
        """The first shard was claimed."""
        if job.status is not JobStatus.QUEUED:
            return
        change = {"status": JobStatus.RUNNING, "started_at": func.coalesce(jobs.c.started_at, func.clock_timestamp())}
        await self.append(job.id, "job.running", {"status": JobStatus.RUNNING.value}, change=change)

    async def pause(
        self, job: LockedJob, reason: PauseReason, message: str, *, backoff: Backoff, at_least_seconds: float
    ) -> None:
        """Let the job wait, longer with each try in vain; who listens hears once of each reason."""
        wait = timedelta(seconds=max(backoff.seconds(job.tries), at_least_seconds))
        now = func.clock_timestamp()
        change = {
            "status": JobStatus.PAUSED,
            "error": job_error(reason, message),
            "pause_reason": reason,
            "paused_at": func.coalesce(jobs.c.paused_at, now),
            "retry_at": now + wait,
            "tries": jobs.c.tries + 1,
        }
        paused = update(jobs).where(jobs.c.id == job.id).values(change).returning(jobs.c.retry_at)
        retry_at = (await self._connection.execute(paused)).scalar_one()
        if job.status is not JobStatus.PAUSED or job.pause_reason is not reason:
            await self.append(job.id, "job.paused", paused_event(reason, message, retry_at))

    async def put_on_hold(self, job: LockedJob) -> None:
        """Let the job wait until a person resumes it, whatever it may have waited for before."""
        change = {
            "status": JobStatus.PAUSED,
            "error": job_error(PauseReason.REQUESTED, PAUSED_ON_REQUEST),
            "pause_reason": PauseReason.REQUESTED,
            "paused_at": func.coalesce(jobs.c.paused_at, func.clock_timestamp()),
            "retry_at": None,
        }
        told = paused_event(PauseReason.REQUESTED, PAUSED_ON_REQUEST, None)
        await self.append(job.id, "job.paused", told, change=change)

    async def try_at_once(self, job: LockedJob) -> None:
        """End the wait of a job that goes on by itself: a worker looks now whether it can."""
        now = {"retry_at": func.clock_timestamp()}
        await self._connection.execute(update(jobs).where(jobs.c.id == job.id).values(now))
        await self.notify(WORK_CHANNEL, job.id)

    async def keep_waiting(self, job: LockedJob, seconds: float) -> None:
        """Let nobody else look whether the paused job can go on, until so many seconds are over."""
        later = {"retry_at": func.clock_timestamp() + timedelta(seconds=seconds)}
        await self._connection.execute(update(jobs).where(jobs.c.id == job.id).values(later))

    async def resume(self, job: LockedJob) -> None:
        """End the pause, whatever its reason; every waiting worker is told."""
        status = resumed_status(has_begun=job.has_begun)
        lasted = select(pause_so_far()).where(jobs.c.id == job.id)
        seconds = (await self._connection.execute(lasted)).scalar_one()
        change = {"status": status, "error": None, **without_pause()}
        await self.append(job.id, "job.resumed", resumed_event(status, float(seconds)), change=change)
        await self.notify(WORK_CHANNEL, job.id)

    async def went_on(self, job_id: JobId) -> None:
        """A shard was saved, so the backend has answered: waits of a later outage are short again."""
        tried = (jobs.c.id == job_id) & (jobs.c.tries > 0) & (jobs.c.status != JobStatus.PAUSED)
        await self._connection.execute(update(jobs).where(tried).values(tries=0))

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
        ended = {"status": status, "finished_at": func.clock_timestamp(), "error": dict(error) if error else None}
        change = {**ended, **without_pause()}
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
