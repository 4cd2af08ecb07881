"""Locks a job and writes the changes that `service.lifecycle` decides: states, log entries, webhook messages."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, assert_never

from sqlalchemy import ColumnElement, RowMapping, Select, func, insert, literal, or_, select, update

from service.identifiers import JobId
from service.lifecycle import WAITING_WORK, Changes, Entry, JobState, Settling, Siblings, WorkCounts, decide_job, settle
from service.lifecycle.events import JobEvent
from service.records.jobs import JobStatus, PauseReason
from service.records.work import WorkKind, WorkStatus
from service.storage.outbox import queue_messages
from service.storage.progress import get_listed_job, job_not_found
from service.storage.tables import events, jobs, trainings, work_items
from service.storage.unit_parts import UnitPart

WORK_CHANNEL = "icm_work"
EVENTS_CHANNEL = "icm_events"

_STATE = (
    jobs.c.id,
    jobs.c.name,
    jobs.c.kind,
    jobs.c.status,
    jobs.c.cancel_requested,
    jobs.c.error,
    jobs.c.pause_reason,
    jobs.c.paused_at,
    jobs.c.retry_at,
    jobs.c.tries,
    jobs.c.paused_seconds,
    jobs.c.started_at,
    jobs.c.finished_at,
)


def may_be_claimed() -> ColumnElement[bool]:
    """True of a job whose items a worker may claim now: `not JobState.waits(now)`, as SQL for many jobs."""
    waits_over = func.coalesce(jobs.c.retry_at <= func.now(), literal(value=False))
    return or_(jobs.c.status != JobStatus.PAUSED, waits_over)


class Journal(UnitPart):
    """Changes jobs within the caller's transaction. Postgres notifies listeners when it commits."""

    async def lock(self, job_id: JobId, which: ColumnElement[bool] | None = None) -> tuple[JobState, datetime]:
        """Lock the job if `which` is true of it. Returns its state and the time of the lock. Raises JobNotFound."""
        query = select(*_STATE).where(jobs.c.id == job_id)
        if which is not None:
            query = query.where(which)
        locked = query.with_for_update(key_share=True).cte("locked")
        return await self._state(select(*locked.c, func.clock_timestamp().label("now")), job_id)

    async def read(self, job_id: JobId) -> tuple[JobState, datetime]:
        """The job's state and the time, without a lock. Raises JobNotFound."""
        query = select(*_STATE, func.clock_timestamp().label("now")).where(jobs.c.id == job_id)
        return await self._state(query, job_id)

    async def apply(self, changes: Changes) -> JobStatus:
        """Write changes of a locked job, and end it if its items call for that. Returns the job's new status."""
        await self._change_siblings(changes)
        await self._write(changes)
        if changes.settling is None:
            return changes.job.status
        settled = await self._settled(changes.job, changes.settling)
        await self._write(settled)
        return settled.job.status

    async def append(self, job_id: JobId, entry: Entry, *, change: Mapping[str, Any] | None = None) -> None:
        """Add an entry to the log, and make the job's `change` in the same statement. Raises JobNotFound.

        The sequence number comes from the job's row, so numbers follow the order of commits.
        """
        counted = (
            update(jobs)
            .where(jobs.c.id == job_id)
            .values({"last_event": jobs.c.last_event + 1, **(change or {})})
            .returning(jobs.c.id, jobs.c.last_event)
            .cte("counted")
        )
        written = literal(dict(entry.data), events.c.data.type)
        source = select(counted.c.id, counted.c.last_event, literal(entry.type), func.clock_timestamp(), written)
        columns = ["job_id", "sequence", "type", "created_at", "data"]
        insertion = (
            insert(events).from_select(columns, source).returning(func.pg_notify(EVENTS_CHANNEL, events.c.job_id))
        )
        if (await self._connection.execute(insertion)).first() is None:
            raise job_not_found(job_id)
        await queue_messages(self._connection, job_id, entry)

    async def notify(self, channel: str, payload: str) -> None:
        """Notify every listener when the transaction commits."""
        await self._connection.execute(select(func.pg_notify(channel, payload)))

    async def progress(self, job_id: JobId, kind: WorkKind) -> Mapping[str, Any]:
        """The job's progress as this transaction sees it; its kind decides the figures."""
        match kind:
            case WorkKind.LABEL:
                return asdict((await get_listed_job(self._connection, jobs.c.id == job_id, job_id)).progress)
            case WorkKind.TRAIN:
                query = select(trainings.c.progress).where(trainings.c.job_id == job_id)
                return await self._connection.scalar(query) or {}
            case WorkKind.DELIVER:
                return {}
            case _:
                assert_never(kind)

    async def apply_event(self, job_id: JobId, event: JobEvent, which: ColumnElement[bool]) -> None:
        """Apply a person's request to the job if `which` is true of it.

        Raises JobNotFound, JobFinished, WrongState.
        """
        job, now = await self.lock(job_id, which)
        await self.apply(decide_job(job, event, now=now))

    async def _state(self, query: "Select[Any]", job_id: JobId) -> tuple[JobState, datetime]:
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise job_not_found(job_id)
        return _job_state(row), row["now"]

    async def _write(self, changes: Changes) -> None:
        """Write the job's changed fields and log entries; the first entry takes the fields along in one statement."""
        job_id, change = changes.job.id, changes.job_fields
        if change and not changes.entries:
            await self._connection.execute(update(jobs).where(jobs.c.id == job_id).values(**change))
        for entry in changes.entries:
            await self.append(job_id, entry, change=change)
            change = {}
        if changes.wakes_workers:
            await self.notify(WORK_CHANNEL, job_id)

    async def _change_siblings(self, changes: Changes) -> None:
        match changes.siblings:
            case None:
                pass
            case Siblings.UNBLOCK:
                await self._unblock(changes.job.id)
            case Siblings.CANCEL_IDLE:
                await self._cancel_idle(changes.job.id)
            case _:
                assert_never(changes.siblings)

    async def _unblock(self, job_id: JobId) -> None:
        blocked = (work_items.c.job_id == job_id) & (work_items.c.status == WorkStatus.BLOCKED)
        await self._connection.execute(update(work_items).where(blocked).values(status=WorkStatus.QUEUED))

    async def _cancel_idle(self, job_id: JobId) -> None:
        """Cancel items without a worker. Skips an item that a worker is claiming, since waiting for it could deadlock;
        that worker finds the job stopped and cancels the item itself.
        """
        idle = or_(
            work_items.c.status.in_(WAITING_WORK),
            (work_items.c.status == WorkStatus.RUNNING) & (work_items.c.lease_until < func.clock_timestamp()),
        )
        found = (
            select(work_items.c.number)
            .where(work_items.c.job_id == job_id, idle)
            .with_for_update(skip_locked=True, key_share=True)
            .cte("found")
        )
        change = (
            update(work_items)
            .where(work_items.c.job_id == job_id, work_items.c.number.in_(select(found.c.number)))
            .values(status=WorkStatus.CANCELLED, worker_id=None, lease_until=None)
        )
        await self._connection.execute(change)

    async def _settled(self, job: JobState, settling: Settling) -> Changes:
        counts, now = await self._count_items(job.id)
        return settle(job, counts, settling, progress=await self.progress(job.id, job.kind), now=now)

    async def _count_items(self, job_id: JobId) -> tuple[WorkCounts, datetime]:
        def number(*statuses: WorkStatus) -> Any:
            return func.count().filter(work_items.c.status.in_(statuses))

        numbers = number(*WAITING_WORK), number(WorkStatus.RUNNING), number(WorkStatus.SUCCEEDED), func.count()
        query = select(*numbers, func.clock_timestamp()).where(work_items.c.job_id == job_id)
        waiting, running, succeeded, total, now = (await self._connection.execute(query)).one()
        return WorkCounts(waiting, running, succeeded, total), now


def _job_state(row: RowMapping) -> JobState:
    reason = row["pause_reason"]
    values = {
        "kind": WorkKind(row["kind"]),
        "status": JobStatus(row["status"]),
        "pause_reason": None if reason is None else PauseReason(reason),
    }
    return JobState(**{column.name: row[column.name] for column in _STATE} | values)
