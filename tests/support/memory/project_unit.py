"""The API's unit of work of the in-memory store."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from service.identifiers import DatasetId, JobId
from service.lifecycle import JobState, WorkState, created, decide_job
from service.lifecycle.events import CancelRequested, JobEvent, PauseRequested, ResumeRequested
from service.records.access import AuditEntry, Holdings
from service.records.jobs import Event, Job, JobStatus, NewDataset, NewJob, NewRow, NewShard
from service.records.labels import LabeledRow, LabelState
from service.records.work import WorkStatus
from service.storage.records import gold_text, unlabeled
from tests.support.memory.state import ShardRecord, State


class MemoryDatasets:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, dataset: NewDataset) -> None:
        self._state.datasets[dataset.id] = dataset

    async def add_rows(self, dataset_id: DatasetId, rows: Sequence[NewRow]) -> None:
        self._state.rows[dataset_id] = (*self._state.rows.get(dataset_id, ()), *rows)


class MemoryJobs:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, job: NewJob, shards: Sequence[NewShard]) -> None:
        now = self._state.now()
        values = {name: getattr(job, name) for name in NewJob.__slots__}
        self._state.jobs[job.id] = Job(**values, created_at=now)
        self._state.lives[job.id] = JobState(id=job.id, name=job.config.name, status=JobStatus.QUEUED)
        for shard in shards:
            status = WorkStatus.BLOCKED if shard.blocked else WorkStatus.QUEUED
            payload = {"rows": shard.rows}
            state = WorkState(job_id=job.id, number=shard.index, payload=payload, status=status, run_after=now)
            self._state.items[job.id, shard.index] = state
            self._state.shards[job.id, shard.index] = ShardRecord(queued_at=now, rows=shard.rows)
        size = {"rows": sum(shard.rows for shard in shards), "shards": len(shards)}
        self._state.append(job.id, created(self._state.lives[job.id], size, now))

    async def get(self, job_id: JobId) -> Job:
        return self._state.job(job_id)

    async def request_cancel(self, job_id: JobId) -> Job:
        return self._apply_event(job_id, CancelRequested())

    async def pause(self, job_id: JobId) -> Job:
        return self._apply_event(job_id, PauseRequested())

    async def resume(self, job_id: JobId) -> Job:
        return self._apply_event(job_id, ResumeRequested())

    async def columns(self, job_id: JobId) -> tuple[tuple[str, ...], str | None]:
        dataset = self._state.datasets[self._state.job(job_id).dataset_id]
        return dataset.columns, dataset.gold_field

    async def summaries(self, job_id: JobId) -> dict[int, Mapping[str, Any] | None]:
        done = [item.number for item in self._state.items_of(job_id) if item.status == "succeeded"]
        return {shard: self._state.shards[job_id, shard].summary for shard in done}

    async def arrow_schema(self, job_id: JobId) -> bytes | None:
        return self._state.datasets[self._state.job(job_id).dataset_id].arrow_schema

    def _apply_event(self, job_id: JobId, event: JobEvent) -> Job:
        self._state.job(job_id)
        self._state.apply(decide_job(self._state.lives[job_id], event, now=self._state.now()))
        return self._state.job(job_id)


class MemoryLabels:
    """Reads label states with their rows, and gold labels."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def result(
        self, job_id: JobId, *, after: int | None = None, limit: int | None = None
    ) -> AsyncGenerator[LabeledRow, None]:
        behind = [row for row in self._rows(job_id) if after is None or row.position > after]
        for row in behind[:limit]:
            yield LabeledRow(id=row.id, data=row.data, gold=row.gold, state=self._label_state(job_id, row))

    async def pairs(self, job_id: JobId) -> AsyncIterator[tuple[LabelState, str]]:
        for row in self._rows(job_id):
            text = None if row.gold is None else gold_text(row.gold)
            if text is not None:
                yield self._label_state(job_id, row), text

    def _rows(self, job_id: JobId) -> list[NewRow]:
        return sorted(self._state.rows.get(self._state.job(job_id).dataset_id, ()), key=lambda row: row.position)

    def _label_state(self, job_id: JobId, row: NewRow) -> LabelState:
        return self._state.labels.get((job_id, row.position)) or unlabeled(row.position)


class MemoryEvents:
    def __init__(self, state: State) -> None:
        self._state = state

    async def after(self, job_id: JobId, sequence: int, *, limit: int) -> list[Event]:
        return [event for event in self._state.events.get(job_id, ()) if event.sequence > sequence][:limit]


class MemoryIdempotency:
    """Stores no Idempotency-Key: every request is new."""

    async def find(self, key: str) -> None: ...

    async def claim(self, key: str, sha256: str, job_id: JobId) -> None: ...


class MemoryAccount:
    """The only project's usage; there is nothing to lock."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def overrides(self) -> Mapping[str, int]:
        return {}

    async def lock(self) -> None: ...

    async def charge(self, tokens: int) -> None:
        self._state.charge(tokens)

    async def usage(self, *, excluding: DatasetId | None = None) -> Holdings:
        rows = [row for name, rows in self._state.rows.items() if name != excluding for row in rows]
        return Holdings(
            jobs_in_flight=sum(not life.status.is_final for life in self._state.lives.values()),
            rows=len(rows),
            bytes=sum(row.size_bytes for row in rows),
            tokens_today=self._state.tokens_today(),
            seconds_left_today=self._state.seconds_left_today(),
        )


class MemoryAudit:
    def __init__(self) -> None:
        self.recorded: list[AuditEntry] = []

    async def record(self, entry: AuditEntry) -> None:
        self.recorded.append(entry)
