"""Connections of one process: as uvicorn serves them, but none may be slow or idle for ever.

uvicorn 0.54 limits the size of a request's head that comes in pieces (16 KiB; one that comes at once
`api.edge.limits.HeadLimit` does) and the time between two requests (5 s).
It waits without end for a first request, for the rest of a head, for a reader who does not read,
and for the rest of a body that was answered before its end. Each of these has a time limit here.
"""

import asyncio
import socket
import uuid
from enum import Enum
from functools import partial
from typing import Any

import h11
import structlog
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.edge.limits import OVER_LIMIT
from api.errors import ProblemKind, problem, service_problem
from service.errors import RequestTooSlow
from service.settings import ServerSettings

LINGER_SECONDS = 5.0  # for a body that was answered before its end, so that its sender gets to read the answer
SPARE_CONNECTIONS = 100  # beyond the limit: answered 503; whoever comes beyond these is hung up on
SEND_BUFFER_BYTES = 262_144  # of the kernel, for each connection: some 5 MB/s to readers 50 ms away
_BAD_REQUEST = ProblemKind(status=400, slug="bad-request")


class _Awaited(Enum):
    """What the server waits for, with a time limit."""

    HEAD = "the rest of a request's head, or a request at all"
    LEFTOVERS = "the end of a body that nobody reads any more"


def bounded(limits: ServerSettings) -> type[asyncio.Protocol]:
    """What uvicorn makes of each connection."""
    return partial(BoundedConnection, limits=limits)  # type: ignore[return-value]  # it is called as the class would be


class BoundedConnection(H11Protocol):
    """One connection, which is closed once its client has been too slow."""

    def __init__(self, *given: Any, limits: ServerSettings, **named: Any) -> None:
        super().__init__(*given, **named)
        self._limits = limits
        self._awaited: _Awaited | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Somebody has come."""
        super().connection_made(transport)
        most = self._limits.max_connections
        if len(self.connections) > most + SPARE_CONNECTIONS:
            transport.abort()
            return
        if len(self.connections) > most:
            self.app_state = {**self.app_state, OVER_LIMIT: True}
        _limit_socket(transport, self._limits.stalled_seconds)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """They have left, or were cut off."""
        super().connection_lost(exc)
        self._wait_for(None)
        self._note_progress()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """An answer has been given."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The reader is behind."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._note_progress()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._refuse(problem(uuid.uuid4().hex, _BAD_REQUEST, msg))

    def _watch(self) -> None:
        """Set a time limit to what the client has to do next, unless one runs already."""
        if self.transport.is_closing():
            self._wait_for(None)
        elif self.conn.their_state is h11.IDLE:
            self._wait_for(_Awaited.HEAD)
        elif self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE:
            self._wait_for(_Awaited.LEFTOVERS)
        else:
            self._wait_for(None)

    def _wait_for(self, awaited: _Awaited | None) -> None:
        if awaited is self._awaited:
            return
        self._awaited = awaited
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if awaited is not None:
            seconds = self._limits.header_seconds if awaited is _Awaited.HEAD else LINGER_SECONDS
            self._deadline = self.loop.call_later(seconds, self._overdue)

    def _overdue(self) -> None:
        """The client took too long; who has begun to ask is told so."""
        has_begun = self._awaited is _Awaited.HEAD and self.conn.trailing_data[0]
        if not has_begun or self.conn.our_state is not h11.IDLE:
            self.transport.abort()
            return
        error = RequestTooSlow(f"the request's head was not complete after {self._limits.header_seconds:g} seconds")
        self._refuse(service_problem(uuid.uuid4().hex, error))

    def _refuse(self, answer: Response) -> None:
        """Answer what is no request that the application could be given, and hang up."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()  # half of another answer is out
            return
        answer.headers["Connection"] = "close"
        head = h11.Response(status_code=answer.status_code, headers=answer.raw_headers)
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect_reading(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._note_progress()
        self._stall = self.loop.call_later(self._limits.stalled_seconds, partial(self._check_reading, waiting))

    def _note_progress(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _check_reading(self, before: int) -> None:
        """Cut off a reader who took next to nothing in all the time; what was held for them is given back."""
        if before - self.transport.get_write_buffer_size() >= self._limits.min_bytes:
            self._expect_reading()
            return
        structlog.get_logger("api").info(
            "a stalled reader was cut off", path=self.scope["path"] if self.scope else None
        )
        self.transport.abort()


def _limit_socket(transport: asyncio.Transport, seconds: float) -> None:
    """Let the kernel hold little for each reader, and give up on one who takes nothing of it for so long.

    Left alone it holds up to 4 MB each, and tries for a quarter of an hour. The time-out is that of
    RFC 5482; on Linux it also ends those who keep their window closed.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
