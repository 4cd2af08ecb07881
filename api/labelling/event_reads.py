"""Read event logs for many streams cheaply: streams that wait for the same page share one read."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fastapi.sse import format_sse_event

from api.schemas import EventBody
from service.identifiers import JobId, ProjectName
from service.jobs.listing import Slice, list_events, read_stream_quotas
from service.ports.store import ProjectStore
from service.records.access import Quotas
from service.records.jobs import Event, Job
from service.records.trainings import Training

READS_AT_ONCE = 2  # maximum of the process's connections to the database for streams, of all logs together
_PAGE = 200  # events; handling them takes a few milliseconds, during which the process serves nobody else

_Wanted = tuple[ProjectName, JobId, int]


class ListsEvents(Protocol):
    """Reads the job or training of a log, and then a page of the log."""

    async def __call__(
        self, store: ProjectStore, job_id: JobId, /, *, after: int, limit: int
    ) -> tuple[Job | Training, Slice[Event]]:
        """The events after a sequence number. Raises JobNotFound or TrainingNotFound."""


@dataclass(frozen=True, slots=True)
class EventsRead:
    """A page of a job's events as a stream sends it."""

    text: bytes
    last: int | None  # sequence number of the last event, if there was one
    has_more: bool
    job_has_ended: bool


class EventReads:
    """Read pages one after the other: one event may wake hundreds of streams, and others need the database, too."""

    def __init__(
        self,
        listed: ListsEvents = list_events,
        quotas_for: Callable[[ProjectStore, JobId], Awaitable[Quotas]] = read_stream_quotas,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        self._listed = listed
        self._quotas_for = quotas_for
        self._turns = turns or asyncio.Semaphore(READS_AT_ONCE)
        self._waiting: dict[_Wanted, asyncio.Task[EventsRead]] = {}

    async def after(self, store: ProjectStore, job_id: JobId, sequence: int) -> EventsRead:
        """Return the events after a sequence number, at present or slightly later. Raises JobNotFound."""
        wanted = (store.caller.project, job_id, sequence)
        reading = self._waiting.get(wanted)
        if reading is None:
            reading = self._waiting[wanted] = asyncio.create_task(self._read(store, wanted))
            reading.add_done_callback(_look_at_error)
        return await asyncio.shield(reading)  # its first caller may leave while others wait for it

    async def page(self, store: ProjectStore, job_id: JobId, *, after: int, limit: int) -> Slice[Event]:
        """One page for one reader, as it is now. Raises JobNotFound."""
        _, found = await self._listed(store, job_id, after=after, limit=limit)
        return found

    async def quotas(self, store: ProjectStore, job_id: JobId) -> Quotas:
        """Return the stream quota of the project that owns the job. Raises JobNotFound."""
        async with self._turns:
            return await self._quotas_for(store, job_id)

    async def is_welcome(self, store: ProjectStore) -> bool:
        """Whether the caller's key is still valid."""
        async with self._turns:
            return await store.is_welcome()

    async def _read(self, store: ProjectStore, wanted: _Wanted) -> EventsRead:
        async with self._turns:
            del self._waiting[wanted]  # later callers may know of an event that this read misses
            _, job_id, after = wanted
            job, found = await self._listed(store, job_id, after=after, limit=_PAGE)
        return EventsRead(
            text=b"".join(map(_encode, found.items)),
            last=found.items[-1].sequence if found.items else None,
            has_more=found.has_more,
            job_has_ended=job.status.is_final,
        )


def _look_at_error(reading: asyncio.Task[EventsRead]) -> None:
    """Pass an error to the waiting callers; without any, drop it."""
    if not reading.cancelled():
        reading.exception()


def _encode(event: Event) -> bytes:
    data = EventBody.model_validate(event).model_dump_json()
    return format_sse_event(data_str=data, event=event.type, id=str(event.sequence))
