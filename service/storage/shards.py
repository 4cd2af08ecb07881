"""The queue in the shards table: claim, renew, save, finish, give back."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from service.config import JobConfig
from service.identifiers import JobId, WorkerId
from service.lifecycle import Changes, ShardState, decide
from service.lifecycle.events import Claimed, Crashed, Found, GivenBack, Renewed, Saved, ShardEvent, ended, lacking
from service.records.jobs import Backoff, ClaimedShard, JobStatus, Lease, Origin, PauseReason, Progress, ShardStatus
from service.search.predictions.prompt_tree import Usage
from service.storage.account import charge
from service.storage.fence import SHARD_STATE, hold, holds, lease_lost, shard_state
from service.storage.journal import Journal, may_be_tried
from service.storage.progress import elapsed_seconds, job_not_found
from service.storage.records import SUMMED
from service.storage.tables import checkpoints, jobs, shards

_SIBLINGS = shards.alias("siblings")


class ShardQueue:
    """Leases shards to workers by the database's clock alone, so a worker's own clock cannot matter.

    What becomes of a shard and its job, `service.lifecycle` decides.
    """

    def __init__(self, connection: AsyncConnection, *, max_crashes: int) -> None:
        self._connection = connection
        self._journal = Journal(connection)
        self._max_crashes = max_crashes

    async def claim(self, worker_id: WorkerId, lease_seconds: float) -> ClaimedShard | None:
        """Lease a shard whose lease has run out, or the oldest queued one; None where there is none."""
        event = Claimed(worker_id=worker_id, lease_seconds=lease_seconds)
        while (shard := await self._expired() or await self._queued()) is not None:
            changes, _ = await self._happen(shard, event)
            if changes.is_claimed:
                return await self._claimed(shard, changes)
            # It is cancelled or given up; or its job was paused at this moment, which we see from now on.
        return None

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Renew the lease; says whether to stop. Raises LeaseLost."""
        shard = await hold(self._connection, lease)
        job, now = await self._journal.look(lease.job_id)  # no lock: heartbeats wait for nobody
        event = Renewed(lease_seconds=lease_seconds)
        changes = decide(job, shard, event, now=now, max_crashes=self._max_crashes)
        await self._write(shard, changes)
        return changes.interrupts

    async def checkpoint(self, job_id: JobId, shard: int) -> bytes | None:
        """How far a shard of the job has come, as it was saved last; None where nothing was."""
        which = (checkpoints.c.job_id == job_id) & (checkpoints.c.shard == shard)
        data: bytes | None = (await self._connection.execute(select(checkpoints.c.data).where(which))).scalar()
        return data

    async def save(self, lease: Lease, *, checkpoint: bytes, progress: Progress) -> None:
        """Record how far the shard has come; what differs from the checkpoint before has advanced. Raises LeaseLost."""
        before = await self._tokens_computed(lease)
        shard = await hold(self._connection, lease)
        values: dict[str, Any] = {name: getattr(progress, name) for name in SUMMED}
        saved = update(shards).where(holds(lease)).values(**values, utility=progress.utility)
        await self._connection.execute(saved)
        advanced = await self._store_checkpoint(lease, checkpoint)
        job_progress = await self._journal.progress(lease.job_id)
        await self._happen(shard, Saved(advanced=advanced, progress=job_progress))
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
        shard = await hold(self._connection, lease)
        if summary is not None:
            await self._connection.execute(update(shards).where(holds(lease)).values(summary=dict(summary)))
        _, job_status = await self._happen(shard, ended(status, error=error, summary=summary))
        return job_status

    async def release(self, lease: Lease, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
        """Give the shard back to the queue, to be gone on with after the delay. Raises LeaseLost."""
        kind = Crashed if crashed else GivenBack
        await self._happen(await hold(self._connection, lease), kind(delay_seconds=delay_seconds))

    async def pause(
        self, claimed: ClaimedShard, reason: PauseReason, message: str, *, backoff: Backoff, at_least_seconds: float
    ) -> None:
        """Give the shard back and let the job wait. Raises LeaseLost."""
        event = lacking(claimed, reason, message, backoff=backoff, at_least_seconds=at_least_seconds)
        await self._happen(await hold(self._connection, claimed.lease), event)

    async def resume(self, claimed: ClaimedShard) -> None:
        """What the job has waited for is there: all of its shards can be claimed again. Raises LeaseLost."""
        await self._happen(await hold(self._connection, claimed.lease), Found())

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

    async def _happen(self, shard: ShardState, event: ShardEvent) -> tuple[Changes, JobStatus]:
        """Let the event happen to a shard that is locked already; the job's status afterwards."""
        job, now = await self._journal.lock(shard.job_id)
        changes = decide(job, shard, event, now=now, max_crashes=self._max_crashes)
        await self._write(shard, changes)
        return changes, await self._journal.apply(changes)

    async def _write(self, shard: ShardState, changes: Changes) -> None:
        if changes.of_shard:
            which = (shards.c.job_id == shard.job_id) & (shards.c.shard == shard.shard)
            await self._connection.execute(update(shards).where(which).values(**changes.of_shard))

    async def _queued(self) -> ShardState | None:
        ready = (shards.c.status == ShardStatus.QUEUED) & (shards.c.run_after <= func.now())
        return await self._lock_first(ready, shards.c.queued_at, shards.c.job_id, shards.c.shard)

    async def _expired(self) -> ShardState | None:
        expired = (shards.c.status == ShardStatus.RUNNING) & (shards.c.lease_until < func.now())
        return await self._lock_first(expired, shards.c.lease_until)

    async def _lock_first(self, condition: ColumnElement[bool], *order: ColumnElement[Any]) -> ShardState | None:
        """Lock the first shard that nobody else has locked. Each kind has its own query and partial index:
        one query with OR reads the whole table."""
        query = (
            select(*SHARD_STATE)
            .join(jobs, jobs.c.id == shards.c.job_id)
            .where(condition, or_(may_be_tried(), jobs.c.cancel_requested))
            .order_by(*order)
            .limit(1)
            .with_for_update(of=shards, skip_locked=True, key_share=True)
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else shard_state(row)

    async def _claimed(self, shard: ShardState, changes: Changes) -> ClaimedShard:
        which = (shards.c.job_id == shard.job_id) & (shards.c.shard == shard.shard)
        query = select(*shards.c, *_told_of_job(shard)).join(jobs, jobs.c.id == shards.c.job_id).where(which)
        row = (await self._connection.execute(query)).mappings().one()
        return _claimed(row, paused=changes.job.status is JobStatus.PAUSED)

    async def _store_checkpoint(self, lease: Lease, data: bytes) -> bool:
        """Replace the checkpoint; whether it differs from the one before."""
        new = insert(checkpoints).values(job_id=lease.job_id, shard=lease.shard, data=data)
        upsert = new.on_conflict_do_update(
            index_elements=[checkpoints.c.job_id, checkpoints.c.shard],
            set_={"data": new.excluded.data, "saved_at": func.clock_timestamp()},
            where=checkpoints.c.data.is_distinct_from(new.excluded.data),
        )
        return (await self._connection.execute(upsert)).rowcount > 0


def _told_of_job(found: ShardState) -> tuple[ColumnElement[Any], ...]:
    """What a worker is told of the shard's job, and the shard's checkpoint; columns beside those of the shard."""
    number = select(func.count()).where(_SIBLINGS.c.job_id == found.job_id).scalar_subquery()
    rows = select(func.sum(_SIBLINGS.c.rows)).where(_SIBLINGS.c.job_id == found.job_id).scalar_subquery()
    saved = select(checkpoints.c.data).where(checkpoints.c.job_id == found.job_id, checkpoints.c.shard == found.shard)
    made_by = (jobs.c.request_id, jobs.c.traceparent)
    counted = (number.label("shards"), rows.label("job_rows"), saved.scalar_subquery().label("checkpoint"))
    return jobs.c.project, jobs.c.dataset_id, jobs.c.config, *counted, *made_by


def _claimed(row: RowMapping, *, paused: bool) -> ClaimedShard:
    which = {name: row[name] for name in ("job_id", "shard", "epoch", "worker_id")}
    return ClaimedShard(
        lease=Lease(**which),
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
