"""Middleware around every request, as plain ASGI so that streams stay streams."""

import re
import time
import uuid
from contextlib import AbstractContextManager, nullcontext

import structlog
from opentelemetry.trace import INVALID_SPAN, Span
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.dependencies import JOB_ID
from api.errors import INTERNAL, problem
from api.metrics import ApiMetrics
from api.scopes import OPEN_PATHS
from service.access.keys import redacted
from service.spans import span_of_request

REQUEST_ID = "X-Request-ID"
# Defaults of every answer: a browser neither guesses its type, nor runs it, nor frames it.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_UNTRACED = OPEN_PATHS | {"/metrics"}
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestContext:
    """Give each request an id, count it, log it, and turn unforeseen errors into problem documents."""

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
            _span(scope, request_id) as span,
            self._metrics.in_progress.track_inprogress(),
        ):
            try:
                await self._app(scope, receive, answer.send)
            except Exception:
                self._log.exception("the request failed", method=scope["method"], path=scope["path"])
                if answer.status is not None:
                    raise  # half an answer is sent: only a broken connection can report the error
                await problem(request_id, INTERNAL, "an unforeseen error; the log has it under this request id")(
                    scope, receive, answer.send
                )
            finally:
                self._record(scope, span, answer.status, time.perf_counter() - began)

    def _record(self, scope: Scope, span: Span, status: int | None, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = _method(scope)
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status or 0})
        self._metrics.requests.labels(method, route, status or "aborted").inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        caller = scope["state"].get("caller")
        whose = {} if caller is None else {"project": caller.project, "key_id": caller.key_id}
        whose |= _job(scope)
        self._log.info("request", method=method, route=route, status=status, seconds=round(seconds, 4), **whose)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _job(scope: Scope) -> dict[str, str]:
    """The job of the request, if its path has a possible id."""
    job_id = scope.get("path_params", {}).get("job_id", "")
    return {"job": job_id} if JOB_ID.fullmatch(job_id) else {}


def _span(scope: Scope, request_id: str) -> AbstractContextManager[Span]:
    """The request's span; frequent requests of machines get none."""
    if scope["path"] in _UNTRACED:
        return nullcontext(INVALID_SPAN)
    method = _method(scope)
    attributes = {"http.request.method": method, "icm.request_id": request_id}
    return span_of_request(method, attributes, traceparent=Headers(scope=scope).get("traceparent"))


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    is_good = _ACCEPTED_ID.fullmatch(given) is not None and redacted(given) == given
    return given if is_good else uuid.uuid4().hex


class _Answer:
    """Observe the answer and add the headers of every answer."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)
