"""The twin's repositories for workers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

from service.entities import (
    Backoff,
    ClaimedShard,
    JobStatus,
    LabelState,
    Lease,
    PauseReason,
    Progress,
    ShardRow,
    ShardStatus,
)
from service.identifiers import DatasetId, JobId, Label, Row, WorkerId
from service.search.predictions.prompt_tree import Usage
from service.storage.lifecycle import TRIAL_SECONDS, poisoned, progress_event, shard_event
from service.storage.memory.journal import Journal
from service.storage.memory.state import ShardRecord, State


class MemoryShards:
    """The queue."""

    def __init__(self, state: State, *, max_crashes: int) -> None:
        self._state = state
        self._journal = Journal(state)
        self._max_crashes = max_crashes

    async def claim(self, worker_id: WorkerId, lease_seconds: float) -> ClaimedShard | None:
        """Lease a shard whose lease has run out, or the oldest queued one; None where there is none."""
        while (found := self._first()) is not None:
            job = self._state.job(found.job_id)
            crashes = found.crashes + int(found.status is ShardStatus.RUNNING)
            if job.cancel_requested or job.status.is_final:
                self._end(found, ShardStatus.CANCELLED)
            elif crashes >= self._max_crashes:
                self._end(found, ShardStatus.FAILED, error=poisoned(found.index, crashes))
            else:
                return self._lease(replace(found, crashes=crashes), worker_id, lease_seconds)
        return None

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Renew the lease; says whether to stop. Raises LeaseLost."""
        record = self._state.held(lease)
        until = self._state.now() + timedelta(seconds=lease_seconds)
        self._state.put_shards([replace(record, lease_until=until)])
        job = self._state.job(lease.job_id)
        return job.cancel_requested or job.status.is_final or self._state.is_on_hold(job.id)

    async def checkpoint(self, job_id: JobId, shard: int) -> bytes | None:
        """How far a shard of the job has come, as it was saved last; None where nothing was."""
        return next((record.checkpoint for record in self._state.shards_of(job_id) if record.index == shard), None)

    async def save(self, lease: Lease, *, checkpoint: bytes, progress: Progress) -> None:
        """Record how far the shard has come. Raises LeaseLost."""
        record = self._state.held(lease)
        crashes = record.crashes if record.checkpoint == checkpoint else 0
        self._state.put_shards([replace(record, checkpoint=checkpoint, progress=progress, crashes=crashes)])
        self._journal.went_on(lease.job_id)
        job_progress = self._journal.told(lease.job_id).progress
        self._journal.append(lease.job_id, "job.progress", progress_event(job_progress))
        self._charge(lease.job_id, progress.tokens_computed - record.progress.tokens_computed)

    async def spend(self, lease: Lease, usage: Usage, *, remembered: int) -> None:
        """Record what the shard has cost so far, and how many prompts memory has answered. Raises LeaseLost."""
        record = self._state.held(lease)
        cost = {name: getattr(usage, name) for name in ("prompts", "tokens_sent", "tokens_computed")}
        progress = replace(record.progress, **cost)
        self._state.put_shards([replace(record, progress=progress, remembered=remembered, modelled=usage.modelled)])
        self._charge(lease.job_id, usage.tokens_computed - record.progress.tokens_computed)

    async def finish(
        self,
        lease: Lease,
        status: ShardStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        """End the shard; the job's status after it. Raises LeaseLost."""
        return self._end(self._state.held(lease), status, error=error, summary=summary)

    async def release(self, lease: Lease, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
        """Give the shard back to the queue, to be gone on with after the delay. Raises LeaseLost."""
        record = self._state.held(lease)
        crashes = record.crashes + int(crashed)
        job = self._state.job(lease.job_id)
        if job.cancel_requested or job.status.is_final:
            self._end(record, ShardStatus.CANCELLED)
            return
        if crashes >= self._max_crashes:
            self._end(record, ShardStatus.FAILED, error=poisoned(lease.shard, crashes))
            return
        run_after = self._state.now() + timedelta(seconds=delay_seconds)
        self._state.put_shards([replace(_given_back(record, ShardStatus.QUEUED), crashes=crashes, run_after=run_after)])
        on_hold = self._state.is_on_hold(job.id)
        if crashed or on_hold or job.status is not JobStatus.PAUSED:  # who only looked has not begun
            self._journal.append(lease.job_id, "shard.released", {"shard": lease.shard, "crashed": crashed})
        self._state.work_queued = not delay_seconds

    async def pause(
        self, claimed: ClaimedShard, reason: PauseReason, message: str, *, backoff: Backoff, at_least_seconds: float
    ) -> None:
        """Give the shard back and let the job wait. Raises LeaseLost."""
        record = self._state.held(claimed.lease)
        job = self._state.job(claimed.lease.job_id)
        if job.cancel_requested or job.status.is_final:
            self._end(record, ShardStatus.CANCELLED)
            return
        self._state.put_shards([_given_back(record, ShardStatus.QUEUED)])
        if self._state.is_on_hold(job.id):
            return  # what a person has asked for stands
        if claimed.paused or job.status is not JobStatus.PAUSED:  # else another shard has paused it already
            self._journal.pause(job, reason, message, backoff=backoff, at_least_seconds=at_least_seconds)

    async def resume(self, claimed: ClaimedShard) -> None:
        """What the job has waited for is there: all of its shards can be claimed again. Raises LeaseLost."""
        self._state.held(claimed.lease)
        job = self._state.job(claimed.lease.job_id)
        if job.cancel_requested or job.status.is_final:
            return  # the heartbeat says so to the worker
        if job.status is JobStatus.PAUSED and not self._state.is_on_hold(job.id):
            self._journal.resume(job)
        self._started(claimed.lease, claimed.rows)

    async def warn(self, lease: Lease, warning: str) -> None:
        """Add to the warnings of the shard's job. Raises LeaseLost."""
        self._state.held(lease)
        job = self._state.job(lease.job_id)
        self._state.jobs.put(job.id, replace(job, warnings=(*job.warnings, warning)))

    async def job_totals(self, job_id: JobId) -> tuple[int, float]:
        """Tokens computed by the whole job so far, and its seconds without pauses. Raises JobNotFound."""
        job = self._journal.told(job_id)
        return job.progress.tokens_computed, self._journal.elapsed_seconds(job) or 0.0

    def _charge(self, job_id: JobId, tokens: int) -> None:
        """Add tokens to the count of the job's project for today (UTC)."""
        if tokens <= 0:
            return
        today = (self._state.owner_of(job_id), self._state.now().astimezone(UTC).date())
        self._state.tokens.put(today, (self._state.tokens.get(today) or 0) + tokens)

    def _first(self) -> ShardRecord | None:
        now = self._state.now()
        records = [record for _, record in self._state.shards.items() if self._may_be_claimed(record.job_id)]
        expired = [record for record in records if record.has_expired(now)]
        if expired:
            return min(expired, key=lambda record: (record.lease_until or now, record.job_id, record.index))
        queued = [record for record in records if record.status is ShardStatus.QUEUED and record.run_after <= now]
        return min(queued, key=lambda record: (record.queued_at, record.job_id, record.index), default=None)

    def _may_be_claimed(self, job_id: JobId) -> bool:
        return self._state.may_be_tried(job_id) or self._state.job(job_id).cancel_requested

    def _lease(self, record: ShardRecord, worker_id: WorkerId, seconds: float) -> ClaimedShard:
        until = self._state.now() + timedelta(seconds=seconds)
        epoch = record.epoch + 1
        leased = replace(record, status=ShardStatus.RUNNING, epoch=epoch, worker_id=worker_id, lease_until=until)
        self._state.put_shards([leased])
        job = self._state.job(record.job_id)
        lease = Lease(job_id=job.id, shard=record.index, epoch=epoch, worker_id=worker_id)
        if job.status is JobStatus.PAUSED:
            self._journal.keep_waiting(job.id, TRIAL_SECONDS)
        else:
            self._journal.begin(job)
            self._started(lease, record.rows)
        return ClaimedShard(
            lease=lease,
            project=self._state.owner_of(job.id),
            dataset_id=job.dataset_id,
            config=job.config,
            shards=len(self._state.shards_of(job.id)),
            job_rows=sum(shard.rows for shard in self._state.shards_of(job.id)),
            rows=record.rows,
            checkpoint=record.checkpoint,
            progress=replace(record.progress, rows=record.rows),
            paused=job.status is JobStatus.PAUSED,
            remembered=record.remembered,
            modelled=record.modelled,
            origin=job.origin,
        )

    def _started(self, lease: Lease, rows: int) -> None:
        started = {"shard": lease.shard, "epoch": lease.epoch, "worker_id": lease.worker_id, "rows": rows}
        self._journal.append(lease.job_id, "shard.started", started)

    def _end(
        self,
        record: ShardRecord,
        status: ShardStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        job = self._state.job(record.job_id)
        stopping = job.cancel_requested or job.status.is_final
        self._state.put_shards([_given_back(record, status)])
        self._journal.append(job.id, "shard.finished", shard_event(record.index, status, error, summary))
        if status is ShardStatus.CANCELLED and not stopping:
            self._journal.request_stop(job.id)
        if status is ShardStatus.SUCCEEDED and record.index == 0 and not stopping:
            self._journal.unblock(job.id)
        return self._journal.settle(
            job.id,
            stopping=stopping or status is ShardStatus.CANCELLED,
            failed=status is ShardStatus.FAILED,
            error=error,
        )


class MemoryShardRows:
    """The rows of a shard, without gold."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def of(self, dataset_id: DatasetId, shard: int) -> list[ShardRow]:
        """The shard's rows in the user's order."""
        rows = (row for row in self._state.rows.get(dataset_id) or () if row.shard == shard)
        return [ShardRow(position=row.position, data=row.data) for row in sorted(rows, key=lambda row: row.position)]


class MemoryLabelWriter:
    """Label states as workers write them."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def write(self, lease: Lease, states: Sequence[LabelState]) -> None:
        """Replace the label states of these rows. Raises LeaseLost."""
        self._state.held(lease)
        for state in states:
            self._state.labels.put((lease.job_id, state.position), state)

    async def of_shard(self, job_id: JobId, shard: int) -> dict[Row, Label]:
        """The labels found for a shard's rows."""
        states = self._states(job_id, shard)
        return {state.position: state.label for state in states if state.label is not None}

    async def unscorable(self, job_id: JobId, shard: int) -> dict[Row, str]:
        """The rows of a shard that the backend gives no scores for, each with the reason."""
        states = self._states(job_id, shard)
        return {state.position: state.reason for state in states if state.reason is not None}

    def _states(self, job_id: JobId, shard: int) -> list[LabelState]:
        job = self._state.jobs.get(job_id)
        rows = () if job is None else self._state.rows.get(job.dataset_id) or ()
        found = (self._state.labels.get((job_id, row.position)) for row in rows if row.shard == shard)
        return sorted((state for state in found if state is not None), key=lambda state: state.position)


class MemoryLeasedEvents:
    """The log as workers write it."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def append(self, lease: Lease, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event to the job's log. Raises LeaseLost."""
        self._state.held(lease)
        Journal(self._state).append(lease.job_id, event_type, data)


def _given_back(record: ShardRecord, status: ShardStatus) -> ShardRecord:
    return replace(record, status=status, worker_id=None, lease_until=None)
