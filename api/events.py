"""A job's events, live (server-sent events) or page by page (JSON)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from api.dependencies import Limit, Stopping, TheJobId, TheStore, TheStreams
from api.documentation import problems
from api.schemas import EventBody, EventPage
from service.entities import Event
from service.errors import InvalidCursor
from service.identifiers import JobId
from service.jobs.listing import list_events, read_stream_quotas
from service.ports import Desks

router = APIRouter(tags=["events"])

KEEPALIVE_SECONDS = 15.0
CONFIRM_SECONDS = 15.0  # a stream ends so soon after its key was revoked
RECONNECT_MILLISECONDS = 2_000
_PAGE = 500
_LAST = 2**31 - 1  # beyond any event
_EVENT_ID = r"^[0-9]{0,19}$"
LastEventId = Annotated[
    str | None, Header(description="the id of the last event seen", json_schema_extra={"pattern": _EVENT_ID})
]
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@router.get(
    "/v1/jobs/{job_id}/events",
    response_model=EventPage,
    responses={
        **problems(400, 404, 503),
        200: {"description": "Events behind Last-Event-ID", "content": {"text/event-stream": {}}},
    },
)
async def get_events(
    request: Request,
    job_id: TheJobId,
    store: TheStore,
    stopping: Stopping,
    streams: TheStreams,
    *,
    limit: Limit = 100,
    last_event_id: LastEventId = None,
) -> Response:
    """Events as they happen until the job has ended; with `Accept: application/json` those there are."""
    after = _sequence(last_event_id)
    if not _wants_json(request):
        quotas = await read_stream_quotas(store, job_id)
        place = streams.counted(store.caller.project, quotas)
        return _CountedStream(_live(store, job_id, after, stopping), place)
    _, found = await list_events(store, job_id, after=after, limit=limit)
    page = EventPage(data=[EventBody.of(event) for event in found.items], has_more=found.has_more)
    return Response(page.model_dump_json(), media_type="application/json")


class _CountedStream(EventSourceResponse):
    """Holds a place among the project's streams until it has ended, however that happens.

    The place is taken when it is made, so that a stream too many is refused; from then on it
    is surely called.
    """

    def __init__(self, content: AsyncIterator[bytes], place: AbstractContextManager[None]) -> None:
        super().__init__(content, headers=_HEADERS)
        self._place = ExitStack()
        self._place.enter_context(place)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        with self._place:
            await super().__call__(scope, receive, send)


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/event-stream" not in accepted


def _sequence(last_event_id: str | None) -> int:
    if last_event_id is None or last_event_id == "":
        return 0
    if not re.fullmatch(_EVENT_ID, last_event_id):
        raise InvalidCursor("Last-Event-ID is not the id of an event")
    return min(int(last_event_id), _LAST)


async def _live(store: Desks, job_id: JobId, after: int, stopping: asyncio.Event) -> AsyncIterator[bytes]:
    """Every event once it is committed, and a comment now and then, so that nobody hangs up."""
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
    confirmed = time.monotonic()
    while True:
        job, found = await list_events(store, job_id, after=after, limit=_PAGE)
        for event in found.items:
            yield _encode(event)
            after = event.sequence
        if time.monotonic() >= confirmed + CONFIRM_SECONDS:
            if not await store.is_welcome():
                return
            confirmed = time.monotonic()
        if found.has_more:
            continue
        if job.status.is_final or stopping.is_set():
            return
        if not await _wait(store, job_id, stopping):
            yield KEEPALIVE_COMMENT


async def _wait(store: Desks, job_id: JobId, stopping: asyncio.Event) -> bool:
    """Wait for events or for the server to stop; whether there was either before a keep-alive is due."""
    news = asyncio.create_task(store.wait_for_events(job_id, KEEPALIVE_SECONDS))
    end = asyncio.create_task(stopping.wait())
    loop = asyncio.get_running_loop()
    due = loop.time() + KEEPALIVE_SECONDS
    try:
        await asyncio.wait((news, end), return_when=asyncio.FIRST_COMPLETED)
        if news.done():
            news.result()
    finally:
        news.cancel()
        end.cancel()
        await asyncio.gather(news, end, return_exceptions=True)
    return loop.time() < due


def _encode(event: Event) -> bytes:
    data = EventBody.of(event).model_dump_json()
    return format_sse_event(data_str=data, event=event.type, id=str(event.sequence))
