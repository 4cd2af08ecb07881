"""Trainings: read and controlled by the API, written by workers under a lease."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import RowMapping, Select, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import JobNotFound, TrainingNotFinished, TrainingNotFound
from service.identifiers import JobId, ProjectName
from service.lifecycle import OPEN_JOB, JobState
from service.lifecycle.events import CancelAsked, DeleteAsked, JobEvent, PauseAsked, ResumeAsked
from service.records.jobs import JobStatus
from service.records.trainings import Artifact, NewTraining, Training, TrainingOrder, TrainingReport
from service.records.work import Lease, NewWork, WorkKind
from service.storage.fence import hold, lease_lost
from service.storage.journal import Journal
from service.storage.progress import owned
from service.storage.records import parsed_time
from service.storage.removal import erase, hold_items
from service.storage.tables import jobs, trainings
from service.storage.work_queue import queue_job

_LIFE = ("id", "status", "created_at", "started_at", "finished_at", "error", "warnings")
_OWN = ("config", "base", "rows", "progress", "artifact_sha256", "artifact_bytes")


class TrainingTable:
    """A project's trainings; adding one queues it in the same transaction."""

    def __init__(self, connection: AsyncConnection, project: ProjectName) -> None:
        self._connection = connection
        self._project = project
        self._journal = Journal(connection)

    async def add(self, training: NewTraining) -> None:
        """Store a training as of now and queue it; workers are notified when the transaction commits."""
        state = JobState(id=training.id, name="", kind=WorkKind.TRAIN, status=JobStatus.QUEUED)
        size = {"rows": training.rows}
        await queue_job(
            self._connection,
            self._project,
            state,
            [NewWork(number=0, payload=size)],
            size=size,
            warnings=training.warnings,
            origin=training.origin,
        )
        own = {
            "job_id": training.id,
            "config": dict(training.config),
            "base": training.base,
            "spec": dict(training.spec),
            "rows": training.rows,
            "examples_sha256": training.examples.sha256,
            "examples_bytes": training.examples.bytes,
        }
        await self._connection.execute(insert(trainings).values(own))

    async def get(self, training_id: JobId) -> Training:
        """The training as it is now. Raises TrainingNotFound."""
        return _training(await self._row(training_id, _select()))

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Training]:
        """Trainings, newest first, older than the (created_at, id) given. Raises InvalidCursor."""
        query = _select().where(jobs.c.project == self._project, jobs.c.retired_at.is_(None))
        query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        if before is not None:
            created_at, training_id = before
            query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(parsed_time(created_at), training_id))
        if status is not None:
            query = query.where(jobs.c.status == status)
        return [_training(row) for row in (await self._connection.execute(query)).mappings()]

    async def report(self, training_id: JobId) -> TrainingReport:
        """What a training that has succeeded says of itself. Raises TrainingNotFound, TrainingNotFinished."""
        row = await self._row(training_id, _select().add_columns(trainings.c.manifest, trainings.c.report))
        training = _training(row)
        if row["report"] is None:
            raise TrainingNotFinished(f"the training is {training.status}; it has a report once it has succeeded")
        return TrainingReport(training=training, manifest=row["manifest"], report=row["report"])

    async def request_cancel(self, training_id: JobId) -> Training:
        """Ask for it to stop. Repeated, the same answer. Raises TrainingNotFound, JobFinished."""
        return await self._happen(training_id, CancelAsked())

    async def pause(self, training_id: JobId) -> Training:
        """Let it wait until a person resumes it. Repeated, the same answer. Raises TrainingNotFound, JobFinished."""
        return await self._happen(training_id, PauseAsked())

    async def resume(self, training_id: JobId) -> Training:
        """Let it go on. Repeated, the same answer. Raises TrainingNotFound, JobFinished."""
        return await self._happen(training_id, ResumeAsked())

    async def remove(self, training_id: JobId) -> None:
        """Delete one that has ended, but for its files. Raises TrainingNotFound, WrongState."""
        await hold_items(self._connection, owned(training_id, self._project))
        await self._happen(training_id, DeleteAsked())
        await erase(self._connection, training_id)

    async def _happen(self, training_id: JobId, event: JobEvent) -> Training:
        """Let what a person asks for happen; the training as it is afterwards."""
        which = owned(training_id, self._project) & (jobs.c.kind == WorkKind.TRAIN)
        try:
            await self._journal.happen(training_id, event, which)
        except JobNotFound:
            raise _not_found(training_id) from None
        return await self.get(training_id)

    async def _row(self, training_id: JobId, query: "Select[Any]") -> RowMapping:
        found = await self._connection.execute(query.where(owned(training_id, self._project)))
        row: RowMapping | None = found.mappings().first()
        if row is None:
            raise _not_found(training_id)
        return row


class LeasedTrainings:
    """Trainings as workers see and write them."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def order(self, lease: Lease) -> TrainingOrder:
        """What is to be trained. Raises LeaseLost."""
        await hold(self._connection, lease)
        columns = (trainings.c.base, trainings.c.spec, trainings.c.examples_sha256, trainings.c.checkpoint_sha256)
        row = (await self._connection.execute(select(*columns).where(trainings.c.job_id == lease.job_id))).first()
        if row is None:
            raise lease_lost(lease)
        return TrainingOrder(
            base=row.base, spec=row.spec, examples=row.examples_sha256, checkpoint=row.checkpoint_sha256
        )

    async def progress(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        """Keep how far it is. Raises LeaseLost."""
        await self._write(lease, {"progress": dict(progress)})

    async def save(self, lease: Lease, checkpoint: Artifact) -> None:
        """Name the stored files that another worker can go on from. Raises LeaseLost."""
        await self._write(lease, {"checkpoint_sha256": checkpoint.sha256, "checkpoint_bytes": checkpoint.bytes})

    async def finish(
        self, lease: Lease, artifact: Artifact, *, manifest: Mapping[str, Any], report: Mapping[str, Any]
    ) -> None:
        """Name what was trained. Raises LeaseLost."""
        named = {"artifact_sha256": artifact.sha256, "artifact_bytes": artifact.bytes}
        await self._write(lease, {**named, "manifest": dict(manifest), "report": dict(report)})

    async def _write(self, lease: Lease, values: Mapping[str, Any]) -> None:
        await hold(self._connection, lease)
        own = trainings.c.job_id == lease.job_id
        await self._connection.execute(update(trainings).where(own).values(values))


async def named_artifacts(connection: AsyncConnection, owners: Collection[JobId]) -> dict[JobId, frozenset[str] | None]:
    """The artifacts of those of these trainings that there are; None of one that has not ended and may get more."""
    query = (
        select(jobs.c.id, jobs.c.status, trainings.c.artifact_sha256)
        .join(trainings, trainings.c.job_id == jobs.c.id)
        .where(jobs.c.id.in_(owners))
    )
    return {
        row.id: None if row.status in OPEN_JOB else frozenset(filter(None, [row.artifact_sha256]))
        for row in await connection.execute(query)
    }


@cache
def _select() -> "Select[Any]":
    """Every training with its life, composed once; narrow it down with `where`."""
    life, own = (jobs.c[name] for name in _LIFE), (trainings.c[name] for name in _OWN)
    return select(*life, *own).join_from(jobs, trainings, trainings.c.job_id == jobs.c.id)


def _training(row: RowMapping) -> Training:
    """The training told by a row of `_select`."""
    sha256 = row["artifact_sha256"]
    as_they_are = {name: row[name] for name in ("id", "config", "base", "rows", "error")}
    moments = {name: row[name] for name in ("created_at", "started_at", "finished_at")}
    return Training(
        **as_they_are,
        **moments,
        status=JobStatus(row["status"]),
        warnings=tuple(row["warnings"] or ()),
        progress=row["progress"] or {},
        artifact=None if sha256 is None else Artifact(sha256, row["artifact_bytes"]),
    )


def _not_found(training_id: JobId) -> TrainingNotFound:
    return TrainingNotFound(f"there is no training {training_id}")
