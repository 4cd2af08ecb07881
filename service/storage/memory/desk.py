"""The twin's repositories for the API: each knows one project and what belongs to it."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from service.entities import (
    Event,
    Job,
    JobStatus,
    LabeledRow,
    LabelState,
    NewDataset,
    NewJob,
    NewRow,
    NewShard,
    ShardStatus,
)
from service.errors import JobFinished, WrongState
from service.identifiers import DatasetId, JobId, ProjectName, Row
from service.ports.store import StoredRequest
from service.storage.lifecycle import gold_text, parsed_time, refuse_ended, unlabeled
from service.storage.memory.journal import Journal
from service.storage.memory.removal import erase
from service.storage.memory.state import KeyRecord, ShardRecord, State


class MemoryDatasets:
    """Data sets and their rows; gold lies in a table of its own."""

    def __init__(self, state: State, project: ProjectName) -> None:
        self._state = state
        self._project = project

    async def add(self, dataset: NewDataset) -> None:
        """Store a data set without its rows."""
        self._state.datasets.put(dataset.id, dataset)
        self._state.owners.put(dataset.id, self._project)

    async def add_rows(self, dataset_id: DatasetId, rows: Sequence[NewRow]) -> None:
        """Store a chunk of rows."""
        if self._state.owners.get(dataset_id) != self._project:
            raise LookupError(f"there is no data set {dataset_id}")
        before = self._state.rows.get(dataset_id) or ()
        self._state.rows.put(dataset_id, (*before, *(replace(row, gold=None) for row in rows)))
        for row in rows:
            if row.gold is not None:
                self._state.gold.put((dataset_id, row.position), row.gold)


class MemoryJobs:
    """Jobs with their shards."""

    def __init__(self, state: State, project: ProjectName) -> None:
        self._state = state
        self._project = project
        self._journal = Journal(state)

    async def add(self, job: NewJob, new_shards: Sequence[NewShard]) -> None:
        """Store a job as of now and queue its shards."""
        now = self._state.now()
        stored = Job(
            id=job.id,
            dataset_id=job.dataset_id,
            config=job.config,
            created_at=now,
            backend_id=job.backend_id,
            warnings=job.warnings,
            origin=job.origin,
        )
        self._state.jobs.put(job.id, stored)
        self._state.owners.put(job.id, self._project)
        self._state.put_shards(
            ShardRecord(
                job_id=job.id,
                index=shard.index,
                rows=shard.rows,
                status=ShardStatus.BLOCKED if shard.blocked else ShardStatus.QUEUED,
                queued_at=now,
                run_after=now,
            )
            for shard in new_shards
        )
        size = {"rows": sum(shard.rows for shard in new_shards), "shards": len(new_shards)}
        self._journal.append(job.id, "job.created", size)
        self._state.work_queued = True

    async def get(self, job_id: JobId) -> Job:
        """The job with its progress summed over shards. Raises JobNotFound."""
        return self._journal.told(self._state.own_job(self._project, job_id).id)

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Job]:
        """Jobs, newest first, older than the (created_at, id) given. Raises InvalidCursor."""
        found = [job for _, job in self._state.jobs.items() if status in (None, job.status)]
        found = [job for job in found if self._state.owners.get(job.id) == self._project]
        if before is not None:
            oldest = (parsed_time(before[0]), before[1])
            found = [job for job in found if (job.created_at, job.id) < oldest]
        found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
        return [self._journal.told(job.id) for job in found[:limit]]

    async def request_cancel(self, job_id: JobId) -> Job:
        """Ask for the job to stop. Repeated, the same answer. Raises JobNotFound, JobFinished."""
        job = self._state.own_job(self._project, job_id)
        if job.status.is_final and job.status is not JobStatus.CANCELLED:
            raise JobFinished(f"job {job_id} has already ended: {job.status}")
        if not job.cancel_requested and not job.status.is_final:
            self._journal.request_stop(job_id)
            self._journal.append(job_id, "job.cancel_requested", {})
        self._journal.settle(job_id, stopping=True)
        return self._journal.told(job_id)

    async def pause(self, job_id: JobId) -> Job:
        """Let the job wait until a person resumes it. Repeated, the same answer. Raises JobNotFound, JobFinished."""
        job = self._state.own_job(self._project, job_id)
        refuse_ended(job_id, job.status, cancel_requested=job.cancel_requested)
        if not self._state.is_on_hold(job_id):
            self._journal.put_on_hold(job)
        return self._journal.told(job_id)

    async def resume(self, job_id: JobId) -> Job:
        """Let a paused job go on. Repeated, the same answer. Raises JobNotFound, JobFinished."""
        job = self._state.own_job(self._project, job_id)
        refuse_ended(job_id, job.status, cancel_requested=job.cancel_requested)
        if self._state.is_on_hold(job_id):
            self._journal.resume(job)
        elif job.status is JobStatus.PAUSED:
            self._journal.try_at_once(job_id)
        return self._journal.told(job_id)

    async def remove(self, job_id: JobId) -> None:
        """Delete a finished job with all that belongs to it. Raises JobNotFound, WrongState."""
        job = self._state.own_job(self._project, job_id)
        if not job.status.is_final:
            raise WrongState(f"job {job_id} is {job.status}; cancel it before deleting it")
        erase(self._state, job_id)

    async def columns(self, job_id: JobId) -> tuple[tuple[str, ...], str | None]:
        """The data set's columns in the user's order, and the name of its gold column. Raises JobNotFound."""
        dataset = self._state.datasets.get(self._state.own_job(self._project, job_id).dataset_id)
        return ((), None) if dataset is None else (dataset.columns, dataset.gold_field)

    async def arrow_schema(self, job_id: JobId) -> bytes | None:
        """The types of the data set's columns where its file had them, as an Arrow stream. Raises JobNotFound."""
        dataset = self._state.datasets.get(self._state.own_job(self._project, job_id).dataset_id)
        return None if dataset is None else dataset.arrow_schema


class MemoryLabelReader:
    """Label states as the API sees them."""

    def __init__(self, state: State, project: ProjectName) -> None:
        self._state = state
        self._project = project

    async def page(
        self, job_id: JobId, *, limit: int, after: tuple[float, int] | None, by_confidence: bool
    ) -> list[tuple[str, LabelState]]:
        """Row ids with their label states, by position or from the least confident on. Raises JobNotFound."""
        rows = self._rows_of(self._state.own_job(self._project, job_id))
        found = [(row.id, self._label_state(job_id, row.position)) for row in rows]
        if not by_confidence:
            return [pair for pair in found if after is None or pair[1].position > after[1]][:limit]
        found.sort(key=lambda pair: _by_confidence(pair[1]))
        start = (-1.0, -1) if after is None else (max(after[0], 0.0), after[1])
        return [pair for pair in found if _by_confidence(pair[1]) > start][:limit]

    async def result(
        self, job_id: JobId, *, after: int | None = None, limit: int | None = None
    ) -> AsyncGenerator[LabeledRow, None]:
        """Rows with their label states in the user's order. Raises JobNotFound."""
        job = self._state.own_job(self._project, job_id)
        behind = [row for row in self._rows_of(job) if after is None or row.position > after]
        for row in behind[:limit]:
            yield LabeledRow(
                id=row.id,
                data=row.data,
                gold=self._state.gold.get((job.dataset_id, row.position)),
                state=self._label_state(job_id, row.position),
            )

    def _rows_of(self, job: Job) -> list[NewRow]:
        return sorted(self._state.rows.get(job.dataset_id) or (), key=lambda row: row.position)

    def _label_state(self, job_id: JobId, position: Row) -> LabelState:
        return self._state.labels.get((job_id, position)) or unlabeled(position)


class MemoryGold:
    """Gold beside what was found."""

    def __init__(self, state: State, project: ProjectName) -> None:
        self._state = state
        self._project = project

    async def pairs(self, job_id: JobId) -> AsyncIterator[tuple[LabelState, str]]:
        """The label state and the gold value as text, for every row that has a gold value."""
        job = self._state.jobs.get(job_id) if self._state.owners.get(job_id) == self._project else None
        rows = () if job is None else self._state.rows.get(job.dataset_id) or ()
        for row in sorted(rows, key=lambda row: row.position):
            value = None if job is None else self._state.gold.get((job.dataset_id, row.position))
            text = None if value is None else gold_text(value)
            if text is not None:
                yield self._state.labels.get((job_id, row.position)) or unlabeled(row.position), text


class MemoryEvents:
    """The log as the API sees it."""

    def __init__(self, state: State, project: ProjectName) -> None:
        self._state = state
        self._project = project

    async def append(self, job_id: JobId, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event. Raises JobNotFound."""
        Journal(self._state).append(self._state.own_job(self._project, job_id).id, event_type, data)

    async def after(self, job_id: JobId, sequence: int, *, limit: int) -> list[Event]:
        """Events with a higher sequence number, oldest first."""
        log = self._state.events.get(job_id) if self._state.owners.get(job_id) == self._project else None
        return [event for event in log or () if event.sequence > sequence][:limit]


class MemoryIdempotency:
    """Keys with what they were used for."""

    def __init__(self, state: State, project: ProjectName) -> None:
        self._state = state
        self._project = project

    async def find(self, key: str) -> StoredRequest | None:
        """What the key was used for, if it was."""
        used = self._state.keys.get((self._project, key))
        return None if used is None else used.request

    async def claim(self, key: str, sha256: str, job_id: JobId) -> StoredRequest | None:
        """Take the key for this job, or give back what it was used for."""
        if (stored := await self.find(key)) is not None:
            return stored
        request = StoredRequest(sha256=sha256, job_id=job_id)
        self._state.keys.put((self._project, key), KeyRecord(request, self._state.now()))
        return None


def _by_confidence(state: LabelState) -> tuple[float, int]:
    return (state.confidence or 0.0, state.position)
