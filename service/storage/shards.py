"""The queue in the shards table: claim, renew, save, finish, give back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from service.config import JobConfig
from service.entities import Backoff, ClaimedShard, JobStatus, Lease, Origin, PauseReason, Progress, ShardStatus
from service.identifiers import JobId, WorkerId
from service.search.predictions.prompt_tree import Usage
from service.storage.account import charge
from service.storage.fence import hold, holds, lease_lost
from service.storage.journal import WORK_CHANNEL, Journal, LockedJob, is_on_hold, may_be_tried
from service.storage.lifecycle import SUMMED, TRIAL_SECONDS, poisoned, progress_event, shard_event
from service.storage.progress import elapsed_seconds, job_not_found
from service.storage.tables import checkpoints, jobs, shards

_SIBLINGS = shards.alias("siblings")


@dataclass(frozen=True, slots=True)
class _Found:
    """A shard that may be claimed, locked."""

    job_id: JobId
    shard: int
    crashes: int  # this one included, where a lease has run out


class ShardQueue:
    """Leases shards to workers by the database's clock alone, so a worker's own clock cannot matter."""

    def __init__(self, connection: AsyncConnection, *, max_crashes: int) -> None:
        self._connection = connection
        self._journal = Journal(connection)
        self._max_crashes = max_crashes

    async def claim(self, worker_id: WorkerId, lease_seconds: float) -> ClaimedShard | None:
        """Lease a shard whose lease has run out, or the oldest queued one; None where there is none."""
        while (found := await self._expired() or await self._queued()) is not None:
            job = await self._journal.lock(found.job_id)
            if job.stopping:
                await self._end(job, found.shard, ShardStatus.CANCELLED)
            elif job.waits:
                continue  # paused, or tried by another worker, at this moment; from now on we see that, too
            elif found.crashes >= self._max_crashes:
                error = poisoned(found.shard, found.crashes)
                await self._end(job, found.shard, ShardStatus.FAILED, error=error)
            else:
                return await self._lease(job, found, worker_id, lease_seconds)
        return None

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Renew the lease; says whether to stop. Raises LeaseLost."""
        change = (
            update(shards)
            .where(holds(lease), jobs.c.id == shards.c.job_id)
            .values(lease_until=_in(lease_seconds))
            .returning(jobs.c.cancel_requested, jobs.c.status, is_on_hold().label("on_hold"))
        )
        row = (await self._connection.execute(change)).first()
        if row is None:
            raise lease_lost(lease)
        return row.cancel_requested or row.on_hold or JobStatus(row.status).is_final

    async def checkpoint(self, job_id: JobId, shard: int) -> bytes | None:
        """How far a shard of the job has come, as it was saved last; None where nothing was."""
        which = (checkpoints.c.job_id == job_id) & (checkpoints.c.shard == shard)
        data: bytes | None = (await self._connection.execute(select(checkpoints.c.data).where(which))).scalar()
        return data

    async def save(self, lease: Lease, *, checkpoint: bytes, progress: Progress) -> None:
        """Record how far the shard has come; what differs from the checkpoint before has advanced. Raises LeaseLost."""
        before = await self._tokens_computed(lease)
        values: dict[str, Any] = {name: getattr(progress, name) for name in SUMMED}
        saved = await self._connection.execute(
            update(shards).where(holds(lease)).values(**values, utility=progress.utility).returning(shards.c.crashes)
        )
        crashes = saved.scalar_one()
        if await self._store_checkpoint(lease, checkpoint) and crashes:
            await self._connection.execute(update(shards).where(holds(lease)).values(crashes=0))
        await self._journal.went_on(lease.job_id)
        job_progress = await self._journal.progress(lease.job_id)
        await self._journal.append(lease.job_id, "job.progress", progress_event(job_progress))
        await self._charge(lease, progress.tokens_computed - before)

    async def spend(self, lease: Lease, usage: Usage, *, remembered: int) -> None:
        """Record what the shard has cost so far, and how many prompts memory has answered. Raises LeaseLost."""
        before = await self._tokens_computed(lease)
        values = {
            "prompts": usage.prompts,
            "tokens_sent": usage.tokens_sent,
            "tokens_computed": usage.tokens_computed,
            "tokens_modelled": usage.modelled,
            "remembered": remembered,
        }
        await self._connection.execute(update(shards).where(holds(lease)).values(values))
        await self._charge(lease, usage.tokens_computed - before)

    async def finish(
        self,
        lease: Lease,
        status: ShardStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        """End the shard; the job's status after it. Raises LeaseLost."""
        await hold(self._connection, lease)
        job = await self._journal.lock(lease.job_id)
        return await self._end(job, lease.shard, status, error=error, summary=summary)

    async def release(self, lease: Lease, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
        """Give the shard back to the queue, to be gone on with after the delay. Raises LeaseLost."""
        crashes = await hold(self._connection, lease) + int(crashed)
        job = await self._journal.lock(lease.job_id)
        if job.stopping:
            await self._end(job, lease.shard, ShardStatus.CANCELLED)
            return
        if crashes >= self._max_crashes:
            await self._end(job, lease.shard, ShardStatus.FAILED, error=poisoned(lease.shard, crashes))
            return
        await self._set(lease.job_id, lease.shard, ShardStatus.QUEUED, crashes=crashes, run_after=_in(delay_seconds))
        if crashed or job.is_on_hold or job.status is not JobStatus.PAUSED:  # who only looked has not begun
            await self._journal.append(lease.job_id, "shard.released", {"shard": lease.shard, "crashed": crashed})
        if not delay_seconds:
            await self._journal.notify(WORK_CHANNEL, lease.job_id)

    async def pause(
        self, claimed: ClaimedShard, reason: PauseReason, message: str, *, backoff: Backoff, at_least_seconds: float
    ) -> None:
        """Give the shard back and let the job wait. Raises LeaseLost."""
        lease = claimed.lease
        await hold(self._connection, lease)
        job = await self._journal.lock(lease.job_id)
        if job.stopping:
            await self._end(job, lease.shard, ShardStatus.CANCELLED)
            return
        await self._set(lease.job_id, lease.shard, ShardStatus.QUEUED)
        if job.is_on_hold:
            return  # what a person has asked for stands
        if claimed.paused or job.status is not JobStatus.PAUSED:  # else another shard has paused it already
            await self._journal.pause(job, reason, message, backoff=backoff, at_least_seconds=at_least_seconds)

    async def resume(self, claimed: ClaimedShard) -> None:
        """What the job has waited for is there: all of its shards can be claimed again. Raises LeaseLost."""
        await hold(self._connection, claimed.lease)
        job = await self._journal.lock(claimed.lease.job_id)
        if job.stopping:
            return  # the heartbeat says so to the worker
        if job.status is JobStatus.PAUSED and not job.is_on_hold:
            await self._journal.resume(job)
        await self._started(claimed.lease, claimed.rows)

    async def warn(self, lease: Lease, warning: str) -> None:
        """Add to the warnings of the shard's job. Raises LeaseLost."""
        await hold(self._connection, lease)
        await self._journal.lock(lease.job_id)
        this = jobs.c.id == lease.job_id
        known = (await self._connection.execute(select(jobs.c.warnings).where(this))).scalar()
        await self._connection.execute(update(jobs).where(this).values(warnings=[*(known or ()), warning]))

    async def job_totals(self, job_id: JobId) -> tuple[int, float]:
        """Tokens computed by the whole job so far, and its seconds without pauses. Raises JobNotFound."""
        tokens = select(func.coalesce(func.sum(shards.c.tokens_computed), 0)).where(shards.c.job_id == job_id)
        query = select(tokens.scalar_subquery(), func.coalesce(elapsed_seconds(), 0)).where(jobs.c.id == job_id)
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise job_not_found(job_id)
        return int(row[0]), float(row[1])

    async def _tokens_computed(self, lease: Lease) -> int:
        """What the shard had computed by its count, which nobody else changes meanwhile. Raises LeaseLost."""
        query = select(shards.c.tokens_computed).where(holds(lease)).with_for_update(key_share=True)
        computed = (await self._connection.execute(query)).scalar()
        if computed is None:
            raise lease_lost(lease)
        return int(computed)

    async def _charge(self, lease: Lease, tokens: int) -> None:
        """Charge the project for what was added to the shard's count."""
        if tokens > 0:
            await charge(self._connection, lease.job_id, tokens)

    async def _queued(self) -> _Found | None:
        ready = (shards.c.status == ShardStatus.QUEUED) & (shards.c.run_after <= func.now())
        return await self._lock_first(ready, shards.c.queued_at, shards.c.job_id, shards.c.shard)

    async def _expired(self) -> _Found | None:
        expired = (shards.c.status == ShardStatus.RUNNING) & (shards.c.lease_until < func.now())
        return await self._lock_first(expired, shards.c.lease_until)

    async def _lock_first(self, condition: ColumnElement[bool], *order: ColumnElement[Any]) -> _Found | None:
        """Lock the first shard that nobody else has locked. Each kind has its own query and partial index:
        one query with OR reads the whole table."""
        query = (
            select(shards.c.job_id, shards.c.shard, shards.c.status, shards.c.crashes)
            .join(jobs, jobs.c.id == shards.c.job_id)
            .where(condition, or_(may_be_tried(), jobs.c.cancel_requested))
            .order_by(*order)
            .limit(1)
            .with_for_update(of=shards, skip_locked=True, key_share=True)
        )
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        return _Found(row.job_id, row.shard, row.crashes + int(row.status == ShardStatus.RUNNING))

    async def _lease(self, job: LockedJob, found: _Found, worker_id: WorkerId, seconds: float) -> ClaimedShard:
        change = (
            update(shards)
            .where(shards.c.job_id == found.job_id, shards.c.shard == found.shard, jobs.c.id == shards.c.job_id)
            .values(
                status=ShardStatus.RUNNING,
                epoch=shards.c.epoch + 1,
                worker_id=worker_id,
                lease_until=_in(seconds),
                crashes=found.crashes,
            )
            .returning(*shards.c, *_told_of_job(found))
        )
        row = (await self._connection.execute(change)).mappings().one()
        lease = Lease(job_id=found.job_id, shard=found.shard, epoch=row["epoch"], worker_id=worker_id)
        if job.status is JobStatus.PAUSED:
            await self._journal.keep_waiting(job, TRIAL_SECONDS)
        else:
            await self._journal.begin(job)
            await self._started(lease, row["rows"])
        return _claimed(lease, row, paused=job.status is JobStatus.PAUSED)

    async def _started(self, lease: Lease, rows: int) -> None:
        started = {"shard": lease.shard, "epoch": lease.epoch, "worker_id": lease.worker_id, "rows": rows}
        await self._journal.append(lease.job_id, "shard.started", started)

    async def _end(
        self,
        job: LockedJob,
        shard: int,
        status: ShardStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        await self._set(job.id, shard, status)
        await self._journal.append(job.id, "shard.finished", shard_event(shard, status, error, summary))
        if status is ShardStatus.CANCELLED and not job.stopping:
            await self._journal.request_stop(job.id)
        if status is ShardStatus.SUCCEEDED and shard == 0 and not job.stopping:
            await self._journal.unblock(job.id)
        stopping = job.stopping or status is ShardStatus.CANCELLED
        return await self._journal.settle(job, stopping=stopping, failed=status is ShardStatus.FAILED, error=error)

    async def _set(self, job_id: JobId, shard: int, status: ShardStatus, **also: Any) -> None:
        """Move a shard that is locked already out of its worker's hands."""
        which = (shards.c.job_id == job_id) & (shards.c.shard == shard)
        values = {"status": status, "worker_id": None, "lease_until": None, **also}
        await self._connection.execute(update(shards).where(which).values(values))

    async def _store_checkpoint(self, lease: Lease, data: bytes) -> bool:
        """Replace the checkpoint; whether it differs from the one before."""
        new = insert(checkpoints).values(job_id=lease.job_id, shard=lease.shard, data=data)
        upsert = new.on_conflict_do_update(
            index_elements=[checkpoints.c.job_id, checkpoints.c.shard],
            set_={"data": new.excluded.data, "saved_at": func.clock_timestamp()},
            where=checkpoints.c.data.is_distinct_from(new.excluded.data),
        )
        return (await self._connection.execute(upsert)).rowcount > 0


def _in(seconds: float) -> ColumnElement[Any]:
    """A point of time from now on, by the database's clock."""
    return func.clock_timestamp() + timedelta(seconds=seconds)


def _told_of_job(found: _Found) -> tuple[ColumnElement[Any], ...]:
    """What a worker is told of the shard's job, and the shard's checkpoint; columns beside those of the shard."""
    number = select(func.count()).where(_SIBLINGS.c.job_id == found.job_id).scalar_subquery()
    rows = select(func.sum(_SIBLINGS.c.rows)).where(_SIBLINGS.c.job_id == found.job_id).scalar_subquery()
    saved = select(checkpoints.c.data).where(checkpoints.c.job_id == found.job_id, checkpoints.c.shard == found.shard)
    made_by = (jobs.c.request_id, jobs.c.traceparent)
    counted = (number.label("shards"), rows.label("job_rows"), saved.scalar_subquery().label("checkpoint"))
    return jobs.c.project, jobs.c.dataset_id, jobs.c.config, *counted, *made_by


def _claimed(lease: Lease, row: RowMapping, *, paused: bool) -> ClaimedShard:
    return ClaimedShard(
        lease=lease,
        project=row["project"],
        dataset_id=row["dataset_id"],
        config=JobConfig.stored(row["config"]),
        shards=row["shards"],
        job_rows=row["job_rows"],
        rows=row["rows"],
        checkpoint=row["checkpoint"],
        progress=Progress(rows=row["rows"], utility=row["utility"], **{name: row[name] for name in SUMMED}),
        paused=paused,
        remembered=row["remembered"],
        modelled=row["tokens_modelled"],
        origin=Origin(request_id=row["request_id"], traceparent=row["traceparent"]),
    )
