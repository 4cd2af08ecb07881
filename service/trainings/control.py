"""Use cases for stored trainings: read, list, pause, resume, cancel and delete them."""

from contextlib import suppress

from service.access.admission import quotas_of
from service.errors import ArtifactsUnavailable
from service.identifiers import JobId
from service.jobs.listing import Slice
from service.ports.artifacts import Artifacts
from service.ports.store import ProjectStore
from service.records.access import AuditAction, AuditEntry, Quotas
from service.records.jobs import Event, JobStatus
from service.records.trainings import Training, TrainingReport


async def read_training(store: ProjectStore, training_id: JobId) -> Training:
    """The training as it is now. Raises TrainingNotFound."""
    async with store.project_unit() as unit:
        return await unit.trainings.get(training_id)


async def list_trainings(
    store: ProjectStore, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None
) -> Slice[Training]:
    """Trainings, newest first, older than the (created_at, id) given."""
    async with store.project_unit() as unit:
        found = await unit.trainings.page(limit=limit + 1, before=before, status=status)
    return Slice(items=found[:limit], has_more=len(found) > limit)


async def list_events(
    store: ProjectStore, training_id: JobId, *, after: int, limit: int
) -> tuple[Training, Slice[Event]]:
    """The training, and its events after the sequence number `after`.

    It reads the training before the events: if it has ended by then, the last page ends its log.

    Raises TrainingNotFound.
    """
    async with store.project_unit() as unit:
        training = await unit.trainings.get(training_id)
        found = await unit.events.after(training_id, after, limit=limit + 1)
    return training, Slice(items=found[:limit], has_more=len(found) > limit)


async def read_stream_quotas(store: ProjectStore, training_id: JobId) -> Quotas:
    """The project's quotas, if the training belongs to the project. Raises TrainingNotFound."""
    async with store.project_unit() as unit:
        await unit.trainings.get(training_id)
        return await quotas_of(unit, store.quotas)


async def read_report(store: ProjectStore, training_id: JobId) -> TrainingReport:
    """The report of a training that has succeeded. Raises TrainingNotFound, TrainingNotFinished."""
    async with store.project_unit() as unit:
        return await unit.trainings.report(training_id)


async def pause(store: ProjectStore, training_id: JobId) -> Training:
    """Pause a training until a person resumes it; its worker saves a checkpoint and releases the work item.

    Raises TrainingNotFound and JobFinished.
    """
    async with store.project_unit() as unit:
        training = await unit.trainings.pause(training_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.TRAINING_PAUSED, training_id))
    return training


async def resume(store: ProjectStore, training_id: JobId) -> Training:
    """Resume a paused training. Raises TrainingNotFound and JobFinished."""
    async with store.project_unit() as unit:
        training = await unit.trainings.resume(training_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.TRAINING_RESUMED, training_id))
    return training


async def cancel(store: ProjectStore, training_id: JobId) -> Training:
    """Cancel a training; its worker notices when it renews the lease. Raises TrainingNotFound, JobFinished."""
    async with store.project_unit() as unit:
        training = await unit.trainings.request_cancel(training_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.TRAINING_CANCELLED, training_id))
    return training


async def remove(store: ProjectStore, artifacts: Artifacts, training_id: JobId) -> None:
    """Delete a training that has ended, with all its files. Raises TrainingNotFound and WrongState."""
    async with store.project_unit() as unit:
        await unit.trainings.remove(training_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.TRAINING_DELETED, training_id))
    with suppress(ArtifactsUnavailable):  # if they remain, the sweep removes them
        await artifacts.remove(training_id)
