"""What happens around every request, as plain ASGI so that streams stay streams."""

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import INTERNAL, problem, service_problem
from api.metrics import ApiMetrics
from service.access.keys import redacted
from service.errors import PayloadTooLarge

REQUEST_ID = "X-Request-ID"
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestContext:
    """Gives each request an id, counts it, logs it, and turns what nobody foresaw into a problem document."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics
        self._log = structlog.get_logger("api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        began = time.perf_counter()
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            self._metrics.in_progress.track_inprogress(),
        ):
            try:
                await self._app(scope, receive, answer.send)
            except Exception:
                self._log.exception("the request failed", method=scope["method"], path=scope["path"])
                if answer.status is not None:
                    raise  # half an answer is out: only a broken connection can tell
                await problem(request_id, INTERNAL, "an unforeseen error; the log has it under this request id")(
                    scope, receive, answer.send
                )
            finally:
                self._record(scope, answer.status, time.perf_counter() - began)

    def _record(self, scope: Scope, status: int | None, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, status or "aborted").inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        caller = scope["state"].get("caller")
        whose = {} if caller is None else {"project": caller.project, "key_id": caller.key_id}
        self._log.info("request", method=method, route=route, status=status, seconds=round(seconds, 4), **whose)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    is_good = _ACCEPTED_ID.fullmatch(given) is not None and redacted(given) == given
    return given if is_good else uuid.uuid4().hex


class _Answer:
    """Watches the answer go out and adds the request id to its headers."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self._request_id
        await self._send(message)


class BodyLimit:
    """Stops reading a request body that is longer than allowed, declared or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        error = PayloadTooLarge(f"the request body has more than {self._max_bytes} bytes")
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
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
