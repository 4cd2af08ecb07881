"""The workers' unit of work of the in-memory store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from service.errors import TrainingNotFound
from service.identifiers import DEFAULT_PROJECT, BackendId, DatasetId, JobId, Label, ProjectName, Row, WorkerId
from service.lifecycle import Changes, WorkState, decide
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
from service.records.access import Spending
from service.records.jobs import (
    Backoff,
    ClaimedShard,
    JobStatus,
    KnownBackend,
    PauseReason,
    Progress,
    SearchPace,
    ShardRow,
    TrainingPace,
)
from service.records.labels import LabelState
from service.records.scoring import BackendIdentity
from service.records.trainings import TrainingReport
from service.records.work import ClaimedWork, Lease, WorkKind, WorkStatus
from service.search.predictions.prompt_tree import LogProbabilities, Usage
from service.search.prompting.recall import Answers, PromptKey
from tests.support.memory.state import State


class MemoryWork:
    def __init__(self, state: State, *, max_crashes: int) -> None:
        self._state = state
        self._max_crashes = max_crashes

    async def claim(self, kinds: Sequence[WorkKind], worker_id: WorkerId, lease_seconds: float) -> ClaimedWork | None:
        while (item := self._first(kinds)) is not None:
            changes = self._apply_event(item, Claimed(worker_id=worker_id, lease_seconds=lease_seconds))
            if changes.is_claimed:
                return self._claimed(self._state.items[item.job_id, item.number], changes)
        return None

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        return self._apply_event(self._state.held(lease), Renewed(lease_seconds=lease_seconds)).interrupts

    async def checkpoint(self, job_id: JobId, number: int) -> bytes | None:
        record = self._state.shards.get((job_id, number))
        return None if record is None else record.checkpoint

    async def save(self, lease: Lease, checkpoint: bytes) -> None:
        item, before = self._state.held(lease), await self.checkpoint(lease.job_id, lease.number)
        self._state.put_record(lease, checkpoint=checkpoint)
        progress = asdict(self._state.job(lease.job_id).progress)
        self._apply_event(item, Saved(advanced=before != checkpoint, progress=progress))

    async def finish(
        self,
        lease: Lease,
        status: WorkStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        self._apply_event(self._state.held(lease), ended(status, error=error, summary=summary))
        return self._state.lives[lease.job_id].status

    async def release(self, lease: Lease, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
        kind = Crashed if crashed else Released
        self._apply_event(self._state.held(lease), kind(delay_seconds=delay_seconds))

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
        event = resource_missing(reason, message, tried=tried, backoff=backoff, at_least_seconds=at_least_seconds)
        self._apply_event(self._state.held(lease), event)

    async def resume(self, lease: Lease) -> None:
        self._apply_event(self._state.held(lease), RetrySucceeded())

    async def warn(self, lease: Lease, warning: str) -> None:
        job = self._state.jobs[self._state.held(lease).job_id]
        if warning not in job.warnings:
            self._state.jobs[job.id] = replace(job, warnings=(*job.warnings, warning))

    def _apply_event(self, item: WorkState, event: WorkEvent) -> Changes:
        job = self._state.lives[item.job_id]
        changes = decide(job, item, event, now=self._state.now(), max_crashes=self._max_crashes)
        self._state.apply(changes)
        return changes

    def _first(self, kinds: Sequence[WorkKind]) -> WorkState | None:
        """The item whose lease expired first; if there is none, the one that has been queued longest."""
        now = self._state.now()
        items = [item for item in self._state.items.values() if item.kind in kinds and self._may_be_claimed(item)]
        expired = [item for item in items if item.has_expired(now)]
        if expired:
            return min(expired, key=lambda item: (item.lease_until or now, item.job_id, item.number))
        queued = [item for item in items if item.status is WorkStatus.QUEUED and (item.run_after or now) <= now]
        return min(
            queued,
            key=lambda item: (self._state.shards[item.job_id, item.number].queued_at, item.job_id, item.number),
            default=None,
        )

    def _may_be_claimed(self, item: WorkState) -> bool:
        job = self._state.lives[item.job_id]
        return job.cancel_requested or not job.waits(self._state.now())

    def _claimed(self, item: WorkState, changes: Changes) -> ClaimedWork:
        lease = {name: getattr(item, name) for name in ("job_id", "number", "epoch", "worker_id")}
        return ClaimedWork(
            lease=Lease(**lease),
            kind=item.kind,
            project=DEFAULT_PROJECT,
            payload=item.payload,
            checkpoint=self._state.shards[item.job_id, item.number].checkpoint,
            crashes=item.crashes,
            paused=changes.job.status is JobStatus.PAUSED,
            origin=self._state.jobs[item.job_id].origin,
        )


class MemoryShards:
    def __init__(self, state: State, work: MemoryWork) -> None:
        self._state = state
        self._work = work

    async def of(self, work: ClaimedWork) -> ClaimedShard:
        job = self._state.jobs[work.lease.job_id]
        record = self._state.shards[job.id, work.lease.number]
        shards = [shard for (job_id, _), shard in self._state.shards.items() if job_id == job.id]
        return ClaimedShard(
            lease=work.lease,
            project=work.project,
            dataset_id=job.dataset_id,
            config=job.config,
            shards=len(shards),
            job_rows=sum(one.rows for one in shards),
            rows=record.rows,
            checkpoint=work.checkpoint,
            progress=replace(record.progress, rows=record.rows),
            paused=work.paused,
            remembered=record.remembered,
            modelled=record.modelled,
            server_crashes=record.server_crashes,
        )

    async def save(self, lease: Lease, *, checkpoint: bytes, progress: Progress) -> None:
        self._state.held(lease)
        before = self._state.shards[lease.job_id, lease.number].progress
        self._state.put_record(lease, progress=progress)
        await self._work.save(lease, checkpoint)
        self._state.charge(progress.tokens_computed - before.tokens_computed)

    async def spend(self, lease: Lease, usage: Usage, *, remembered: int) -> None:
        self._state.held(lease)
        before = self._state.shards[lease.job_id, lease.number].progress
        cost = {name: getattr(usage, name) for name in ("prompts", "tokens_sent", "tokens_computed")}
        progress = replace(before, **cost)
        self._state.put_record(lease, progress=progress, remembered=remembered, modelled=usage.modelled)
        self._state.charge(usage.tokens_computed - before.tokens_computed)

    async def set_pace(self, lease: Lease, pace: SearchPace | TrainingPace | None) -> None:
        self._state.held(lease)
        self._state.put_record(lease, pace=pace)

    async def summarize(self, lease: Lease, summary: Mapping[str, Any]) -> None:
        self._state.held(lease)
        self._state.put_record(lease, summary=summary)

    async def note_server_crashes(self, lease: Lease, counts: Mapping[str, int]) -> None:
        self._state.held(lease)
        self._state.put_record(lease, server_crashes=counts)

    async def job_totals(self, job_id: JobId) -> tuple[int, float]:
        seconds = self._state.elapsed_seconds(self._state.lives[job_id]) or 0.0
        return self._state.job(job_id).progress.tokens_computed, seconds


class MemoryRows:
    def __init__(self, state: State) -> None:
        self._state = state

    async def of(self, dataset_id: DatasetId, shard: int) -> list[ShardRow]:
        rows = [row for row in self._state.rows.get(dataset_id, ()) if row.shard == shard]
        return [ShardRow(position=row.position, data=row.data) for row in sorted(rows, key=lambda row: row.position)]


class MemoryLabelWriter:
    def __init__(self, state: State) -> None:
        self._state = state

    async def write(self, lease: Lease, states: Sequence[LabelState]) -> None:
        self._state.held(lease)
        self._state.labels |= {(lease.job_id, state.position): state for state in states}

    async def of_shard(self, job_id: JobId, shard: int) -> dict[Row, Label]:
        return {one.position: one.label for one in self._states(job_id, shard) if one.label is not None}

    async def unscorable(self, job_id: JobId, shard: int) -> dict[Row, str]:
        return {one.position: one.reason for one in self._states(job_id, shard) if one.reason is not None}

    def _states(self, job_id: JobId, shard: int) -> list[LabelState]:
        rows = self._state.rows.get(self._state.jobs[job_id].dataset_id, ())
        positions = sorted(row.position for row in rows if row.shard == shard)
        return [state for at in positions if (state := self._state.labels.get((job_id, at))) is not None]


class MemoryBackends:
    """The identities of scoring backends."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def recognized(self, identity: BackendIdentity) -> BackendId:
        known = self._state.backends
        same = [backend_id for backend_id, stored in known.items() if stored.agrees_with(identity)]
        backend_id = min(same, default=BackendId(len(known) + 1))
        known.setdefault(backend_id, identity)
        return backend_id

    async def of_job(self, lease: Lease, measured: BackendIdentity) -> KnownBackend:
        job = self._state.jobs[self._state.held(lease).job_id]
        backend_id = job.backend_id or await self.recognized(measured)
        self._state.jobs[job.id] = replace(job, backend_id=backend_id)
        return KnownBackend(backend_id, self._state.backends.get(backend_id) or measured)


class MemoryAnswers:
    def __init__(self, state: State) -> None:
        self._state = state

    async def recall(self, backend_id: BackendId, keys: Collection[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        answers = self._state.answers
        return {key: answers[backend_id, key] for key in keys if (backend_id, key) in answers}

    async def record(self, lease: Lease, backend_id: BackendId, answers: Answers) -> dict[PromptKey, LogProbabilities]:
        self._state.held(lease)
        for key, found in answers.items():
            self._state.answers.setdefault((backend_id, key), found)
        return await self.recall(backend_id, answers)

    async def last_to_evict(self, max_answers: int) -> None:
        """No answer is evicted."""


class MemorySpendings:
    def __init__(self, state: State) -> None:
        self._state = state

    async def today(self, project: ProjectName) -> Spending:
        tokens, seconds = self._state.tokens_today(), self._state.seconds_left_today()
        return Spending(tokens=tokens, seconds_left_today=seconds, overrides={})


class MemoryTrainings:
    """Trainings that have succeeded, as the API and workers see them."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def report(self, training_id: JobId) -> TrainingReport:
        if training_id not in self._state.trainings:
            raise TrainingNotFound(f"there is no training {training_id}")
        return self._state.trainings[training_id]

    async def finished(self, lease: Lease, training_id: JobId) -> TrainingReport:
        self._state.held(lease)
        return await self.report(training_id)
