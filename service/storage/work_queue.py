"""The lease queue of work items in Postgres: workers claim, renew, save, finish and release items of any kind."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId, ProjectName, WorkerId
from service.lifecycle import Changes, JobState, WorkState, created, decide
from service.lifecycle.events import (
    Claimed,
    Crashed,
    Released,
    Renewed,
    RetrySucceeded,
    Saved,
    WorkEvent,
    ended,
    resource_missing,
)
from service.records.jobs import Backoff, JobStatus, PauseReason
from service.records.work import UNKNOWN_ORIGIN, ClaimedWork, Lease, NewWork, Origin, WorkKind, WorkStatus
from service.storage.fence import WORK_STATE, first_unlocked, lease_expired, lock_lease, work_state
from service.storage.journal import WORK_CHANNEL, Journal, may_be_claimed
from service.storage.tables import checkpoints, jobs, work_items
from service.storage.unit_parts import UnitPart


class WorkTable(UnitPart):
    """Leases work items to workers. It uses the database's clock alone, so workers' clocks need not agree.

    `service.lifecycle` decides how an item and its job change.
    """

    def __init__(self, connection: AsyncConnection, *, max_crashes: int) -> None:
        super().__init__(connection)
        self._journal = Journal(connection)
        self._max_crashes = max_crashes

    async def claim(self, kinds: Sequence[WorkKind], worker_id: WorkerId, lease_seconds: float) -> ClaimedWork | None:
        """Lease an item of the first of these kinds that has a claimable one; None if none has."""
        event = Claimed(worker_id=worker_id, lease_seconds=lease_seconds)
        for kind in kinds:
            while (work := await self._expired(kind) or await self._queued(kind)) is not None:
                changes, _ = await self._apply_event(work, event)
                if changes.is_claimed:
                    return await self._claimed(changes)
                # The item was cancelled or failed, or its job was paused meanwhile: the next query leaves it out.
        return None

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Renew the lease; returns True if the worker must release the item. Raises LeaseLost."""
        work = await lock_lease(self._connection, lease)
        job, now = await self._journal.read(lease.job_id)  # no lock: heartbeats wait for nobody
        event = Renewed(lease_seconds=lease_seconds)
        changes = decide(job, work, event, now=now, max_crashes=self._max_crashes)
        await self._write(work, changes)
        return changes.interrupts

    async def checkpoint(self, job_id: JobId, number: int) -> bytes | None:
        """The last checkpoint of an item; None if it has none."""
        which = (checkpoints.c.job_id == job_id) & (checkpoints.c.number == number)
        data: bytes | None = await self._connection.scalar(select(checkpoints.c.data).where(which))
        return data

    async def save(self, lease: Lease, checkpoint: bytes) -> None:
        """Save the item's checkpoint; one that differs from the last counts as an advance. Raises LeaseLost."""
        work = await lock_lease(self._connection, lease)
        advanced = await self._store_checkpoint(lease, checkpoint)
        progress = await self._journal.progress(lease.job_id, work.kind)
        await self._apply_event(work, Saved(advanced=advanced, progress=progress))

    async def finish(
        self,
        lease: Lease,
        status: WorkStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        """End the item; returns the job's status after that. Raises LeaseLost."""
        work = await lock_lease(self._connection, lease)
        _, job_status = await self._apply_event(work, ended(status, error=error, summary=summary))
        return job_status

    async def release(self, lease: Lease, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
        """Return the item to the queue; workers may claim it after the delay. Raises LeaseLost."""
        kind = Crashed if crashed else Released
        await self._apply_event(await lock_lease(self._connection, lease), kind(delay_seconds=delay_seconds))

    async def pause(
        self,
        lease: Lease,
        reason: PauseReason,
        message: str,
        *,
        tried: bool,
        backoff: Backoff,
        at_least_seconds: float,
    ) -> None:
        """Return the item to the queue and pause the job. Raises LeaseLost."""
        event = resource_missing(reason, message, tried=tried, backoff=backoff, at_least_seconds=at_least_seconds)
        await self._apply_event(await lock_lease(self._connection, lease), event)

    async def resume(self, lease: Lease) -> None:
        """Resume a job whose backend or tokens are available again. Raises LeaseLost."""
        await self._apply_event(await lock_lease(self._connection, lease), RetrySucceeded())

    async def warn(self, lease: Lease, warning: str) -> None:
        """Add a warning to those of the item's job, unless it is among them. Raises LeaseLost."""
        await lock_lease(self._connection, lease)
        await self._journal.lock(lease.job_id)
        this = jobs.c.id == lease.job_id
        known = await self._connection.scalar(select(jobs.c.warnings).where(this)) or []
        if warning not in known:
            await self._connection.execute(update(jobs).where(this).values(warnings=[*known, warning]))

    async def _apply_event(self, work: WorkState, event: WorkEvent) -> tuple[Changes, JobStatus]:
        """Apply an event to a locked item; returns the changes and the job's new status."""
        job, now = await self._journal.lock(work.job_id)
        changes = decide(job, work, event, now=now, max_crashes=self._max_crashes)
        await self._write(work, changes)
        return changes, await self._journal.apply(changes)

    async def _write(self, work: WorkState, changes: Changes) -> None:
        if changes.work_fields:
            which = (work_items.c.job_id == work.job_id) & (work_items.c.number == work.number)
            await self._connection.execute(update(work_items).where(which).values(**changes.work_fields))

    async def _queued(self, kind: WorkKind) -> WorkState | None:
        ready = (work_items.c.status == WorkStatus.QUEUED) & (work_items.c.run_after <= func.now())
        return await self._lock_first(kind, ready, work_items.c.queued_at, work_items.c.job_id, work_items.c.number)

    async def _expired(self, kind: WorkKind) -> WorkState | None:
        expired = (work_items.c.status == WorkStatus.RUNNING) & lease_expired(work_items)
        return await self._lock_first(kind, expired, work_items.c.lease_until)

    async def _lock_first(
        self, kind: WorkKind, condition: ColumnElement[bool], *order: ColumnElement[Any]
    ) -> WorkState | None:
        """Lock the first unlocked item. Each status and each kind has a separate query in the order of a partial index:
        one query with OR would read the whole table."""
        query = (
            select(*WORK_STATE)
            .join(jobs, jobs.c.id == work_items.c.job_id)
            .where(work_items.c.kind == kind, condition, or_(may_be_claimed(), jobs.c.cancel_requested))
            .order_by(*order)
        )
        row = (await self._connection.execute(first_unlocked(query, work_items, 1))).mappings().first()
        return None if row is None else work_state(row)

    async def _claimed(self, changes: Changes) -> ClaimedWork:
        work = changes.work
        if work is None or work.worker_id is None:
            raise RuntimeError("a claim is about a work item, and gives it to a worker")
        saved = (checkpoints.c.job_id == work.job_id) & (checkpoints.c.number == work.number)
        query = (
            select(jobs.c.project, jobs.c.request_id, jobs.c.traceparent, checkpoints.c.data)
            .outerjoin_from(jobs, checkpoints, saved)
            .where(jobs.c.id == work.job_id)
        )
        row = (await self._connection.execute(query)).one()
        return ClaimedWork(
            lease=Lease(job_id=work.job_id, number=work.number, epoch=work.epoch, worker_id=work.worker_id),
            kind=work.kind,
            project=row.project,
            payload=work.payload,
            checkpoint=row.data,
            crashes=work.crashes,
            paused=changes.job.status is JobStatus.PAUSED,
            origin=Origin(request_id=row.request_id, traceparent=row.traceparent),
        )

    async def _store_checkpoint(self, lease: Lease, data: bytes) -> bool:
        """Replace the checkpoint; returns True if it differs from the last one."""
        new = postgresql.insert(checkpoints).values(job_id=lease.job_id, number=lease.number, data=data)
        upsert = new.on_conflict_do_update(
            index_elements=[checkpoints.c.job_id, checkpoints.c.number],
            set_={"data": new.excluded.data, "saved_at": func.clock_timestamp()},
            where=checkpoints.c.data.is_distinct_from(new.excluded.data),
        )
        return (await self._connection.execute(upsert)).rowcount > 0


async def queue_job(
    connection: AsyncConnection,
    project: ProjectName,
    job: JobState,
    items: Sequence[NewWork],
    *,
    size: Mapping[str, Any],
    warnings: Sequence[str] = (),
    origin: Origin = UNKNOWN_ORIGIN,
) -> None:
    """Store a new job of any kind, queue its work items, and begin its event log with its `size`.

    Postgres notifies workers when the transaction commits.
    """
    values = {
        "id": job.id,
        "project": project,
        "kind": job.kind,
        "name": job.name,
        "status": job.status,
        "created_at": func.now(),
        "warnings": list(warnings),
        "request_id": origin.request_id,
        "traceparent": origin.traceparent,
    }
    stored = insert(jobs).values(values).returning(func.clock_timestamp())
    now = (await connection.execute(stored)).scalar_one()
    queued = [
        {
            "job_id": job.id,
            "number": item.number,
            "kind": job.kind,
            "payload": dict(item.payload),
            "status": WorkStatus.BLOCKED if item.blocked else WorkStatus.QUEUED,
        }
        for item in items
    ]
    await connection.execute(insert(work_items).values(queued_at=func.now()), queued)
    journal = Journal(connection)
    await journal.append(job.id, created(job, size, now))
    await journal.notify(WORK_CHANNEL, job.id)
