"""Stores trainings in Postgres: the API creates, reads and controls them, workers update them under a lease."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import ConfigUnreadable, JobNotFound, TrainingNotFinished, TrainingNotFound, WrongState
from service.identifiers import JobId, ProjectName, is_training_id
from service.lifecycle import OPEN_JOB, JobState
from service.lifecycle.events import CancelRequested, DeleteRequested, JobEvent, PauseRequested, ResumeRequested
from service.records.adapters import TrainedAdapter, trained_adapter
from service.records.jobs import JobStatus
from service.records.trainings import Artifact, NeededModel, NewTraining, Training, TrainingOrder, TrainingReport
from service.records.work import Lease, NewWork, WorkKind
from service.storage.fence import lease_lost, lock_lease
from service.storage.journal import Journal
from service.storage.progress import newest_first, owned
from service.storage.removal import erase, lock_items
from service.storage.stored_config import (
    read_model_jobs,
    read_training,
    read_training_spec,
    stored_request,
    stored_training,
)
from service.storage.tables import backend_identities, jobs, labellings, training_models, trainings
from service.storage.unit_parts import ProjectPart, UnitPart
from service.storage.work_queue import queue_job

_JOB_COLUMNS = ("id", "status", "created_at", "started_at", "finished_at", "error", "warnings")
_TRAINING_COLUMNS = ("config", "base", "rows", "progress", "artifact_sha256", "artifact_bytes")


class TrainingTable(ProjectPart):
    """A project's trainings. Adding one also queues its work item."""

    def __init__(self, connection: AsyncConnection, project: ProjectName) -> None:
        super().__init__(connection, project)
        self._journal = Journal(connection)

    async def add(self, training: NewTraining) -> None:
        """Store a new training and queue it; Postgres notifies workers when the transaction commits."""
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
            "config": stored_request(training.config, training.model_jobs),
            "base": training.base,
            "spec": stored_training(training.spec),
            "rows": training.rows,
            "examples_sha256": training.examples.sha256,
            "examples_bytes": training.examples.bytes,
        }
        await self._connection.execute(insert(trainings).values(own))
        models = [
            {"job_id": training.id, "field": field, "model_id": model} for field, model in training.models.items()
        ]
        if models:
            await self._connection.execute(insert(training_models), models)

    async def get(self, training_id: JobId) -> Training:
        """The training as it is now. Raises TrainingNotFound."""
        return _training(await _row(self._connection, training_id, self._project, _select()))

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Training]:
        """Trainings, newest first, older than the (created_at, id) given. Raises InvalidCursor."""
        query = newest_first(_select(), self._project, limit=limit, before=before, status=status)
        return [_listed(row) for row in (await self._connection.execute(query)).mappings()]

    async def report(self, training_id: JobId) -> TrainingReport:
        """The report of a training that has succeeded. Raises TrainingNotFound, TrainingNotFinished."""
        return await _report(self._connection, training_id, self._project)

    async def labelled_by(self, job_ids: Collection[JobId]) -> Mapping[JobId, str]:
        """The fingerprint of the backend that labelled each of these jobs of the project, where it is known."""
        return await _labelled_by(self._connection, job_ids, jobs.c.project == self._project)

    async def request_cancel(self, training_id: JobId) -> Training:
        """Cancel the training. A repeated call changes nothing. Raises TrainingNotFound, JobFinished."""
        return await self._apply_event(training_id, CancelRequested())

    async def pause(self, training_id: JobId) -> Training:
        """Pause it until a person resumes it. A repeated call changes nothing. Raises TrainingNotFound, JobFinished."""
        return await self._apply_event(training_id, PauseRequested())

    async def resume(self, training_id: JobId) -> Training:
        """Resume the training. A repeated call changes nothing. Raises TrainingNotFound, JobFinished."""
        return await self._apply_event(training_id, ResumeRequested())

    async def hold(self, training_id: JobId) -> None:
        """Keep others from removing it, and retention from retiring it, until the transaction ends.

        Raises TrainingNotFound.
        """
        own = owned(training_id, self._project) & (jobs.c.kind == WorkKind.TRAIN)
        locked = select(jobs.c.id).where(own).with_for_update(read=True)  # a removal waits for this lock
        if (await self._connection.execute(locked)).first() is None:
            raise _not_found(training_id)

    async def remove(self, training_id: JobId) -> None:
        """Delete a training that has ended and that no other needs, but not its files.

        Raises TrainingNotFound, WrongState.
        """
        await lock_items(self._connection, owned(training_id, self._project))
        await self._apply_event(training_id, DeleteRequested())
        needing = _needing().where(training_models.c.model_id == training_id).limit(1)
        if (other := await self._connection.scalar(needing)) is not None:
            raise WrongState(
                f"training {training_id} is the reward model or judge of training {other}, which has not ended; "
                "wait for its end, or cancel it"
            )
        await erase(self._connection, training_id)

    async def _apply_event(self, training_id: JobId, event: JobEvent) -> Training:
        """Apply a person's request to the training; returns the changed one, as far as this release can read it."""
        which = owned(training_id, self._project) & (jobs.c.kind == WorkKind.TRAIN)
        try:
            await self._journal.apply_event(training_id, event, which)
        except JobNotFound:
            raise _not_found(training_id) from None
        return _listed(await _row(self._connection, training_id, self._project, _select()))


class LeasedTrainings(UnitPart):
    """Trainings, for the workers that run them."""

    async def order(self, lease: Lease) -> TrainingOrder:
        """The worker's order: base, specification and artifacts to start from. Raises LeaseLost."""
        await lock_lease(self._connection, lease)
        row = (await self._connection.execute(select(trainings).where(trainings.c.job_id == lease.job_id))).first()
        if row is None:
            raise lease_lost(lease)
        same_project = jobs.c.project == select(jobs.c.project).where(jobs.c.id == lease.job_id).scalar_subquery()
        return TrainingOrder(
            base=row.base,
            spec=read_training_spec(row.spec),
            examples=row.examples_sha256,
            models=await self._models(lease.job_id),
            labelled_by=await _labelled_by(self._connection, row.config.get("job_ids", ()), same_project),
            checkpoint=row.checkpoint_sha256,
        )

    async def _models(self, training_id: JobId) -> tuple[NeededModel, ...]:
        query = (
            select(trainings.c.job_id, trainings.c.artifact_sha256, trainings.c.manifest)
            .join(training_models, training_models.c.model_id == trainings.c.job_id)
            .where(training_models.c.job_id == training_id)
            .order_by(trainings.c.job_id)
        )
        return tuple(
            NeededModel(training_id=row.job_id, sha256=row.artifact_sha256, manifest=row.manifest)
            for row in await self._connection.execute(query)
        )

    async def finished(self, lease: Lease, training_id: JobId) -> TrainingReport:
        """Another training of the lease's project. Raises LeaseLost, TrainingNotFound, TrainingNotFinished."""
        await lock_lease(self._connection, lease)
        project = select(jobs.c.project).where(jobs.c.id == lease.job_id)
        owner = ProjectName((await self._connection.execute(project)).scalar_one())
        return await _report(self._connection, training_id, owner)

    async def progress(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        """Store the training's progress. Raises LeaseLost."""
        await self._write(lease, {"progress": dict(progress)})

    async def save(self, lease: Lease, checkpoint: Artifact) -> None:
        """Store the name of the checkpoint from which another worker can resume. Raises LeaseLost."""
        await self._write(lease, {"checkpoint_sha256": checkpoint.sha256, "checkpoint_bytes": checkpoint.bytes})

    async def finish(
        self, lease: Lease, artifact: Artifact, *, manifest: Mapping[str, Any], report: Mapping[str, Any]
    ) -> None:
        """Store the artifact's name, the manifest and the report. Raises LeaseLost."""
        named = {"artifact_sha256": artifact.sha256, "artifact_bytes": artifact.bytes}
        await self._write(lease, {**named, "manifest": dict(manifest), "report": dict(report)})

    async def _write(self, lease: Lease, values: Mapping[str, Any]) -> None:
        await lock_lease(self._connection, lease)
        own = trainings.c.job_id == lease.job_id
        await self._connection.execute(update(trainings).where(own).values(values))


async def adapter_of(connection: AsyncConnection, model: str, project: ProjectName) -> TrainedAdapter | None:
    """The adapter of the project's training of this id; None if it has none, or if the model is no training."""
    if not is_training_id(model):
        return None
    which = owned(JobId(model), project)
    row = (await connection.execute(_select().add_columns(trainings.c.manifest).where(which))).mappings().first()
    if row is None or row["artifact_sha256"] is None:
        return None
    return trained_adapter(row["id"], row["base"], row["artifact_sha256"], row["manifest"] or {})


async def named_artifacts(connection: AsyncConnection, owners: Collection[JobId]) -> dict[JobId, frozenset[str] | None]:
    """The artifacts that each existing training of `owners` refers to; None if it has not ended and may get more."""
    query = (
        select(jobs.c.id, jobs.c.status, trainings.c.artifact_sha256)
        .join(trainings, trainings.c.job_id == jobs.c.id)
        .where(jobs.c.id.in_(owners))
    )
    return {
        row.id: None if row.status in OPEN_JOB else frozenset(filter(None, [row.artifact_sha256]))
        for row in await connection.execute(query)
    }


def unneeded() -> ColumnElement[bool]:
    """True of a job unless it is a training whose model another one needs that has not ended."""
    return jobs.c.id.not_in(_needing().with_only_columns(training_models.c.model_id))


def _needing() -> "Select[Any]":
    """The trainings that have not ended and need others; narrow it down with `where`."""
    open_ = jobs.alias("needing")
    return (
        select(open_.c.id)
        .join(training_models, training_models.c.job_id == open_.c.id)
        .where(open_.c.status.in_(OPEN_JOB))
    )


async def _labelled_by(
    connection: AsyncConnection, job_ids: Collection[JobId], which: ColumnElement[bool]
) -> dict[JobId, str]:
    """The fingerprints of the backends that labelled those of these jobs that there are."""
    query = (
        select(jobs.c.id, backend_identities.c.fingerprint)
        .join(labellings, labellings.c.job_id == jobs.c.id)
        .join(backend_identities, backend_identities.c.id == labellings.c.backend_id)
        .where(jobs.c.id.in_(job_ids), which)
        .order_by(jobs.c.id)
    )
    return {row.id: row.fingerprint for row in await connection.execute(query)}


@cache
def _select() -> "Select[Any]":
    """A query for all trainings with the columns of their jobs, composed once; narrow it down with `where`."""
    job_columns, own = (jobs.c[name] for name in _JOB_COLUMNS), (trainings.c[name] for name in _TRAINING_COLUMNS)
    return select(*job_columns, *own).join_from(jobs, trainings, trainings.c.job_id == jobs.c.id)


async def _report(connection: AsyncConnection, training_id: JobId, project: ProjectName) -> TrainingReport:
    wanted = _select().add_columns(trainings.c.manifest, trainings.c.report)
    row = await _row(connection, training_id, project, wanted)
    training = _training(row)
    if row["report"] is None:
        raise TrainingNotFinished(f"the training is {training.status}; it has a report once it has succeeded")
    return TrainingReport(training=training, manifest=row["manifest"], report=row["report"])


async def _row(
    connection: AsyncConnection, training_id: JobId, project: ProjectName, query: "Select[Any]"
) -> RowMapping:
    found = await connection.execute(query.where(owned(training_id, project)))
    row: RowMapping | None = found.mappings().first()
    if row is None:
        raise _not_found(training_id)
    return row


def _listed(row: RowMapping) -> Training:
    """The training in a row of `_select`, as far as this release can read it: one must not hide the others."""
    try:
        return _training(row)
    except ConfigUnreadable as error:
        stored = row["config"].get("job_ids")
        job_ids = [one for one in stored if isinstance(one, str)] if isinstance(stored, list) else []
        return _with_config(row, {"job_ids": job_ids}, unreadable=str(error))


def _training(row: RowMapping) -> Training:
    """The training in a row of `_select`. Raises ConfigUnreadable."""
    return _with_config(row, read_training(row["config"]))


def _with_config(row: RowMapping, config: Mapping[str, Any], unreadable: str | None = None) -> Training:
    sha256 = row["artifact_sha256"]
    as_they_are = ("id", "base", "rows", "error", "created_at", "started_at", "finished_at")
    return Training(
        **{name: row[name] for name in as_they_are},
        config=config,
        unreadable=unreadable,
        status=JobStatus(row["status"]),
        warnings=tuple(row["warnings"] or ()),
        progress=row["progress"] or {},
        artifact=None if sha256 is None else Artifact(sha256, row["artifact_bytes"]),
        model_jobs=read_model_jobs(row["config"]),
    )


def _not_found(training_id: JobId) -> TrainingNotFound:
    return TrainingNotFound(f"there is no training {training_id}")
