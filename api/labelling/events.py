"""A job's events, live (server-sent events) or page by page (JSON)."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, ExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse
from starlette.types import Receive, Scope, Send

from api.dependencies import Limit, Stopping, TheJobId, TheMetrics, TheStore, TheStreams, of_app
from api.labelling.event_reads import EventReads
from api.metrics import ApiMetrics
from api.openapi.documentation import problems
from api.schemas import EventBody, EventPage
from service.access.streams import StreamCounter
from service.errors import InvalidCursor, StorageUnavailable
from service.identifiers import JobId
from service.ports.store import EventSubscription, ProjectStore

router = APIRouter(tags=["events"])

KEEPALIVE_SECONDS = 15.0
CONFIRM_SECONDS = 15.0  # after which a stream ends if its key was revoked
RECONNECT_MILLISECONDS = 2_000
_LAST = 2**31 - 1  # beyond any event
_EVENT_ID = r"^[0-9]{0,19}$"
_LastEventId = Annotated[
    str | None,
    Header(description="id of the last event that you have received", json_schema_extra={"pattern": _EVENT_ID}),
]
_TheEventReads = Annotated[EventReads, Depends(of_app("event_reads"))]
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsRequest:
    """A request for the events of a log, as a stream or as a page."""

    project_store: ProjectStore
    after: int
    limit: int
    wants_json: bool
    streams: StreamCounter
    metrics: ApiMetrics
    stopping: asyncio.Event

    async def answer(self, job_id: JobId, reads: EventReads) -> Response:
        """A page of the log, or a stream of it. Raises JobNotFound, and QuotaExhausted for a surplus stream."""
        if self.wants_json:
            events = await reads.page(self.project_store, job_id, after=self.after, limit=self.limit)
            page = EventPage(data=[EventBody.model_validate(event) for event in events.items], has_more=events.has_more)
            return Response(page.model_dump_json(), media_type="application/json")
        quotas = await reads.quotas(self.project_store, job_id)
        counted = self.streams.counted(self.project_store.caller.project, quotas)
        content = _live(self.project_store, job_id, reads, self.after, self.stopping)
        return _CountedStream(content, counted, self.metrics.streams.track_inprogress())


async def _events_request(
    request: Request,
    store: TheStore,
    stopping: Stopping,
    *,
    streams: TheStreams,
    metrics: TheMetrics,
    limit: Limit = 100,
    last_event_id: _LastEventId = None,
) -> EventsRequest:
    """Read the request. Raises InvalidCursor."""
    accepted = request.headers.get("accept", "")
    return EventsRequest(
        project_store=store,
        after=_sequence(last_event_id),
        limit=limit,
        wants_json="application/json" in accepted and "text/event-stream" not in accepted,
        streams=streams,
        metrics=metrics,
        stopping=stopping,
    )


TheEventsRequest = Annotated[EventsRequest, Depends(_events_request)]


@router.get(
    "/v1/jobs/{job_id}/events",
    response_model=EventPage,
    responses={
        **problems(400, 404, 503),
        200: {"description": "Events after Last-Event-ID", "content": {"text/event-stream": {}}},
    },
)
async def get_events(job_id: TheJobId, wanted: TheEventsRequest, reads: _TheEventReads) -> Response:
    """Stream events until the job has ended; with `Accept: application/json` list those so far."""
    return await wanted.answer(job_id, reads)


class _CountedStream(EventSourceResponse):
    """Hold a place among the project's streams until the response has ended in whatever way.

    The constructor takes the place, so that a surplus stream is refused. Afterwards the server surely calls the
    response.
    """

    def __init__(self, content: AsyncIterator[bytes], *places: AbstractContextManager[object]) -> None:
        super().__init__(content, headers=_HEADERS)
        self._place = ExitStack()
        for place in places:
            self._place.enter_context(place)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        with self._place:
            await super().__call__(scope, receive, send)


def _sequence(last_event_id: str | None) -> int:
    if last_event_id is None or last_event_id == "":
        return 0
    if not re.fullmatch(_EVENT_ID, last_event_id):
        raise InvalidCursor("Last-Event-ID is not the id of an event")
    return min(int(last_event_id), _LAST)


async def _live(
    store: ProjectStore, job_id: JobId, reads: EventReads, after: int, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    """Yield every committed event, and comments that keep the connection alive.

    If the database goes away, the stream ends, and its reader reconnects after the last event that it has received.
    """
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
    async with aclosing(_followed(store, job_id, reads, after, stopping)) as parts:
        with suppress(StorageUnavailable):
            async for part in parts:
                yield part


async def _followed(
    store: ProjectStore, job_id: JobId, reads: EventReads, after: int, stopping: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    """Yield events and comments until the job ends, the caller's key becomes invalid, or the server stops."""
    confirmed = time.monotonic()
    with store.follow_events(job_id) as subscription:
        while True:
            found = await reads.after(store, job_id, after)
            if found.last is not None:
                yield found.text
                after = found.last
            if time.monotonic() >= confirmed + CONFIRM_SECONDS:
                if not await reads.is_welcome(store):
                    return
                confirmed = time.monotonic()
            if found.has_more:
                continue
            if found.job_has_ended or stopping.is_set():
                return
            if not await _wait(subscription, stopping):
                yield KEEPALIVE_COMMENT


async def _wait(subscription: EventSubscription, stopping: asyncio.Event) -> bool:
    """Wait for events or for the server to stop; return False if a keep-alive is due first."""
    arrival = asyncio.create_task(subscription.wait(KEEPALIVE_SECONDS))
    end = asyncio.create_task(stopping.wait())
    loop = asyncio.get_running_loop()
    due = loop.time() + KEEPALIVE_SECONDS
    try:
        await asyncio.wait((arrival, end), return_when=asyncio.FIRST_COMPLETED)
        if arrival.done():
            arrival.result()
    finally:
        arrival.cancel()
        end.cancel()
        await asyncio.gather(arrival, end, return_exceptions=True)
    return loop.time() < due
