"""Limits on the size, the pace and the number of requests."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ProblemKind, problem, service_problem
from api.scopes import OPEN_PATHS
from service.errors import Overloaded, PayloadTooLarge, RequestTooSlow

MAX_HEAD_BYTES = 16_384  # uvicorn has this limit for heads in pieces, and none for a head that arrives at once
_BYTES_AROUND = 4  # of each header: colon, space, end of line
_AMBIGUOUS = ProblemKind(status=400, slug="bad-request")
_TOO_LARGE = ProblemKind(status=431, slug="request-header-fields-too-large")
OVER_LIMIT = "is_over_limit"  # in the scope's state: the connection exceeds the limit of the process


class HeadLimit:
    """Refuse heads that are too long, and ambiguous heads.

    A request with Content-Length beside Transfer-Encoding has two ends. If a proxy takes one and we the other, the
    bytes between become somebody else's request (request smuggling; RFC 9112 §6.1). So the connection ends, too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        refusal = _refusal_of_head(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        kind, detail = refusal
        await problem(scope["state"]["request_id"], kind, detail, headers={"Connection": "close"})(scope, receive, send)


def _refusal_of_head(scope: Scope) -> tuple[ProblemKind, str] | None:
    headers = Headers(scope=scope)
    if "transfer-encoding" in headers and ("content-length" in headers or scope.get("http_version") == "1.0"):
        return (
            _AMBIGUOUS,
            "it is not plain where the body ends: Transfer-Encoding beside Content-Length or HTTP/1.0",
        )
    target = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
    if target + sum(len(name) + len(value) + _BYTES_AROUND for name, value in scope["headers"]) > MAX_HEAD_BYTES:
        return _TOO_LARGE, f"the request's head, its address and all headers, has more than {MAX_HEAD_BYTES} bytes"
    return None


class ConnectionLimit:
    """Refuse requests over surplus connections, but always answer the liveness check."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["state"].get(OVER_LIMIT) or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        error = Overloaded("this process has as many connections as it serves")
        answer = service_problem(scope["state"]["request_id"], error)
        answer.headers["Connection"] = "close"
        await answer(scope, receive, send)


class BodyLimit:
    """Stop reading a request body that exceeds the limit, declared or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = PayloadTooLarge(
            f"the request body has more than {self._max_bytes} bytes; send a data set in parts, as several jobs, or "
            "ask the operator to raise ICM_UPLOAD__MAX_BYTES"
        )
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and _is_more(declared, self._max_bytes):
            await service_problem(scope["state"]["request_id"], error)(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                raise error
            return message

        await self._app(scope, counted, send)


class BodyPace:
    """Refuse a body that arrives too slowly.

    The measure is that of Apache's mod_reqtimeout: a minimum of bytes in each interval of seconds. Time in which
    nobody reads the body does not count.
    """

    def __init__(self, app: ASGIApp, seconds: float, min_bytes: int) -> None:
        self._app = app
        self._seconds = seconds
        self._min_bytes = min_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, _Paced(receive, self._seconds, self._min_bytes), send)


class _Paced:
    """The messages of one request, with a minimum pace until its body is complete."""

    def __init__(self, receive: Receive, seconds: float, min_bytes: int) -> None:
        self._receive = receive
        self._seconds = seconds
        self._min_bytes = min_bytes
        self._left = seconds  # start of the present interval
        self._arrived = 0  # bytes in this interval
        self._is_complete = False

    async def __call__(self) -> Message:
        """Receive the next message. Raises RequestTooSlow."""
        if self._is_complete:
            return await self._receive()  # the next message is the client's disconnect, which may take any time
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(self._left):
                    message = await self._receive()
            except TimeoutError:
                self._begin_anew()
                continue
            self._arrived += len(message.get("body", b""))
            self._left -= loop.time() - began
            self._is_complete = not message.get("more_body", False)
            if self._left <= 0 and not self._is_complete:
                self._begin_anew()
            return message

    def _begin_anew(self) -> None:
        if self._arrived < self._min_bytes:
            message = f"of the request body fewer than {self._min_bytes} bytes came in {self._seconds:g} seconds"
            raise RequestTooSlow(message)
        self._left, self._arrived = self._seconds, 0


def _is_more(digits: str, limit: int) -> bool:
    """Whether a number of any length exceeds the limit."""
    significant = digits.lstrip("0")
    return len(significant) > len(str(limit)) or int(significant or "0") > limit
