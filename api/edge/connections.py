"""Closes the connections of slow and idle clients, by time limits that uvicorn lacks.

uvicorn 0.54 limits the size of a request's head that arrives in pieces (16 KiB; `api.edge.limits.HeadLimit` limits
a head that arrives at once) and the time between two requests (5 s). It waits without limit for a first request,
for the rest of a head, for a reader who does not read, and for the rest of a body after an early answer. This module
gives each of these a time limit.
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

LINGER_SECONDS = 5.0  # for a body after an early answer, so that its sender can read the answer
SPARE_CONNECTIONS = 100  # further connections get 503; the server closes those beyond them
SEND_BUFFER_BYTES = 262_144  # buffer of the kernel for each connection: some 5 MB/s to readers 50 ms away
_BAD_REQUEST = ProblemKind(status=400, slug="bad-request")


class _Awaited(Enum):
    """Events that the server waits for, each with a time limit."""

    HEAD = "the rest of a request's head, or a request at all"
    LEFTOVERS = "the end of a body that nobody reads any more"


def bounded(limits: ServerSettings) -> type[asyncio.Protocol]:
    """Build a protocol for each connection of uvicorn."""
    return partial(BoundedConnection, limits=limits)  # type: ignore[return-value]  # uvicorn calls it like the class


class BoundedConnection(H11Protocol):
    """One connection, which the server closes if its client is too slow."""

    def __init__(self, *given: Any, limits: ServerSettings, **named: Any) -> None:
        super().__init__(*given, **named)
        self._limits = limits
        self._awaited: _Awaited | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Handle a new connection."""
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
        """Handle the end of the connection."""
        super().connection_lost(exc)
        self._wait_for(None)
        self._note_progress()

    def data_received(self, data: bytes) -> None:
        """Handle received bytes."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Handle the end of an answer."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Handle a reader that falls behind."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Handle a reader that has caught up."""
        super().resume_writing()
        self._note_progress()

    def send_400_response(self, msg: str) -> None:
        """Handle bytes that are not HTTP."""
        self._refuse(problem(uuid.uuid4().hex, _BAD_REQUEST, msg))

    def _watch(self) -> None:
        """Start a time limit for the client's next step, unless one is running."""
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
        """Close a slow connection; a client with an incomplete request gets an answer first."""
        has_begun = self._awaited is _Awaited.HEAD and self.conn.trailing_data[0]
        if not has_begun or self.conn.our_state is not h11.IDLE:
            self.transport.abort()
            return
        error = RequestTooSlow(f"the request's head was not complete after {self._limits.header_seconds:g} seconds")
        self._refuse(service_problem(uuid.uuid4().hex, error))

    def _refuse(self, answer: Response) -> None:
        """Answer a request that cannot reach the application, and close the connection."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.abort()  # the server has sent half of another answer
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
        """Disconnect a reader that took too few bytes in the time limit, and free its resources."""
        if before - self.transport.get_write_buffer_size() >= self._limits.min_bytes:
            self._expect_reading()
            return
        structlog.get_logger("api").info(
            "a stalled reader was cut off", path=self.scope["path"] if self.scope else None
        )
        self.transport.abort()


def _limit_socket(transport: asyncio.Transport, seconds: float) -> None:
    """Limit the kernel's buffer for each reader, and its patience with a reader that takes nothing.

    By default the kernel buffers up to 4 MB each and tries for a quarter of an hour. The time-out is that of
    RFC 5482; on Linux it also ends connections with a closed window.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
