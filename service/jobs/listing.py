"""Use cases that read jobs, label states and events, page by page."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from service.access.admission import quotas_of
from service.identifiers import JobId
from service.ports.store import ProjectStore
from service.records.access import Quotas
from service.records.jobs import Event, Job, JobStatus, ListedJob
from service.records.labels import LabelState

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[Item]):
    """A page of a longer list, and whether more items follow."""

    items: list[Item]
    has_more: bool


def _slice(items: list[Item], limit: int) -> Slice[Item]:
    """The page from items that were queried with one more than the limit."""
    return Slice(items=items[:limit], has_more=len(items) > limit)


async def read_job(store: ProjectStore, job_id: JobId) -> Job:
    """The present state of a job. Raises JobNotFound."""
    async with store.project_unit() as unit:
        return await unit.jobs.get(job_id)


async def read_stream_quotas(store: ProjectStore, job_id: JobId) -> Quotas:
    """The quotas of the caller's project; first checks that the job belongs to it. Raises JobNotFound."""
    async with store.project_unit() as unit:
        await unit.jobs.get(job_id)
        return await quotas_of(unit, store.quotas)


async def list_jobs(
    store: ProjectStore, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None
) -> Slice[ListedJob]:
    """A page of jobs, newest first, older than the given (created_at, id)."""
    async with store.project_unit() as unit:
        return _slice(await unit.jobs.page(limit=limit + 1, before=before, status=status), limit)


async def list_labels(
    store: ProjectStore, job_id: JobId, *, limit: int, after: tuple[float, int] | None, by_confidence: bool
) -> tuple[Job, Slice[tuple[str, LabelState]]]:
    """The job, and a page of row ids with label states after the given (confidence, position). Raises JobNotFound."""
    async with store.project_unit() as unit:
        job = await unit.jobs.get(job_id)
        states = await unit.labels.page(job_id, limit=limit + 1, after=after, by_confidence=by_confidence)
    return job, _slice(states, limit)


async def list_events(store: ProjectStore, job_id: JobId, *, after: int, limit: int) -> tuple[Job, Slice[Event]]:
    """The job, and a page of its events after a sequence number. Raises JobNotFound.

    It reads the job first: so if the job is final, the events are complete at the last page.
    """
    async with store.project_unit() as unit:
        job = await unit.jobs.get(job_id)
        events = await unit.events.after(job_id, after, limit=limit + 1)
    return job, _slice(events, limit)
