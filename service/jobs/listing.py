"""Reads jobs, label states and events page by page."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from service.access.admission import quotas_of
from service.identifiers import JobId
from service.ports.store import ProjectStore
from service.records.access import Quotas
from service.records.jobs import Event, Job, JobStatus
from service.records.labels import LabelState

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[Item]):
    """Some items of a longer list, and whether more follow."""

    items: list[Item]
    has_more: bool


def _slice(items: list[Item], limit: int) -> Slice[Item]:
    """Cut what was asked for with one item to spare."""
    return Slice(items=items[:limit], has_more=len(items) > limit)


async def read_job(store: ProjectStore, job_id: JobId) -> Job:
    """The job as it is now. Raises JobNotFound."""
    async with store.project_unit() as unit:
        return await unit.jobs.get(job_id)


async def read_stream_quotas(store: ProjectStore, job_id: JobId) -> Quotas:
    """What the project may have, once it is sure that the job is the project's. Raises JobNotFound."""
    async with store.project_unit() as unit:
        await unit.jobs.get(job_id)
        return await quotas_of(unit, store.quotas)


async def list_jobs(
    store: ProjectStore, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None
) -> Slice[Job]:
    """Jobs, newest first, older than the (created_at, id) given."""
    async with store.project_unit() as unit:
        return _slice(await unit.jobs.page(limit=limit + 1, before=before, status=status), limit)


async def list_labels(
    store: ProjectStore, job_id: JobId, *, limit: int, after: tuple[float, int] | None, by_confidence: bool
) -> tuple[Job, Slice[tuple[str, LabelState]]]:
    """The job, and row ids with label states behind the (confidence, position) given. Raises JobNotFound."""
    async with store.project_unit() as unit:
        job = await unit.jobs.get(job_id)
        states = await unit.labels.page(job_id, limit=limit + 1, after=after, by_confidence=by_confidence)
    return job, _slice(states, limit)


async def list_events(store: ProjectStore, job_id: JobId, *, after: int, limit: int) -> tuple[Job, Slice[Event]]:
    """The job, and then its events behind a sequence number: a final job's last page ends its log.

    Raises JobNotFound.
    """
    async with store.project_unit() as unit:
        job = await unit.jobs.get(job_id)
        events = await unit.events.after(job_id, after, limit=limit + 1)
    return job, _slice(events, limit)
