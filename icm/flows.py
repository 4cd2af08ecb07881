"""The client's operations of several requests, as generators that yield each I/O operation instead of doing it.

A flow yields `Send` and `Pause`; whoever drives it does that, blocking or not, and hands
the outcome back. So the client and its asynchronous twin share everything that is decided.
"""

import math
import re
import ssl
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, TypeVar

import httpx

from icm.calls.call import Call
from icm.documents import Job, Training
from icm.errors import ServerUnreachable, api_error
from icm.retries import Outcome, RetryPolicy

T = TypeVar("T")
Followed = TypeVar("Followed", Job, Training)

_LEAST_SECONDS = 0.1  # for an answer, so that even the shortest time-out reads the job once
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
_ERROR_NUMBER = re.compile(r"^\[Errno -?\d+\] ")


@dataclass(frozen=True)
class Send:
    """Make this request; its outcome is an answer or an error of the transport."""

    call: Call[Any]


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


Flow = Generator[Send | Pause, Outcome | None, T]


def exchange(call: Call[T], policy: RetryPolicy, draw: Callable[[], float]) -> Flow[T]:
    """Repeat a call until the service answers. Raises ApiError, ServerUnreachable."""
    for attempt in count(1):
        outcome = yield Send(call)
        if outcome is None:
            raise TypeError("a flow that sends wants the outcome")
        delay = policy.delay_seconds(outcome, attempt=attempt, repeatable=call.repeatable, draw=draw)
        if delay is None:
            return _value(call, outcome)
        yield Pause(delay)
    raise AssertionError("count() does not end")


def until_final(
    look: Call[Followed],
    fetch: Callable[[Call[Followed]], Flow[Followed]],
    *,
    name: str,
    poll_seconds: float,
    timeout_seconds: float | None,
    on_change: Callable[[Followed], None] | None,
) -> Flow[Followed]:
    """Poll a job or a training until it has ended. Raises TimeoutError, and the errors of `fetch`."""
    deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
    seen: Followed | None = None
    try:
        while True:
            current = yield from _before(deadline, fetch(look))
            if on_change is not None and current != seen:
                on_change(current)
            seen = current
            if current.is_final:
                return current
            yield Pause(min(poll_seconds, _left(deadline)))
    except _Late:
        state = "has an unknown status" if seen is None else f"is still {seen.status}"
        raise TimeoutError(f"{name} {state} after {timeout_seconds:g} s") from None


class _Late(Exception):
    """The time-out has passed."""


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises _Late."""
    if (left := deadline - time.monotonic()) <= 0:
        raise _Late
    return left


def _before(deadline: float, flow: Flow[T]) -> Flow[T]:
    """Shorten the requests and waits of a flow to the deadline. Raises _Late once it has passed."""
    outcome: Outcome | None = None
    while True:
        try:
            step = flow.send(outcome)
        except StopIteration as end:
            value: T = end.value
            return value
        if isinstance(step, Pause):
            outcome = yield Pause(min(step.seconds, _left(deadline)))
        elif deadline == math.inf:
            outcome = yield step
        else:
            left = max(_LEAST_SECONDS, deadline - time.monotonic())
            outcome = yield Send(replace(step.call, timeout_seconds=left))


def _value(call: Call[T], outcome: Outcome) -> T:
    if isinstance(outcome, httpx.TransportError):
        raise ServerUnreachable(_unreachable(call, outcome)) from outcome
    if not outcome.is_success:
        raise api_error(outcome)
    return call.read(outcome)


def _unreachable(call: Call[Any], error: httpx.TransportError) -> str:
    """Name the address that did not answer, the request, and the remedy."""
    message = f"no answer from {_address(error)} to {call.method} {call.path}: {_reason(error)}"
    if (fault := _fault_of_tls(error)) is not None:
        return f"no answer from {_address(error)} to {call.method} {call.path}: {fault}"
    if not isinstance(error, httpx.ConnectError):
        return message
    return f"{message}. Start the service there (`icm serve`), or name one that runs (--url, ICM_URL)"


def _fault_of_tls(error: BaseException | None) -> str | None:
    """What is wrong with TLS, and what to do; None if TLS is not the cause."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message or "it cannot be verified"
        return f"its certificate is not accepted ({why}); name its authority in SSL_CERT_FILE, or the right host"
    if error.reason in _NO_TLS:
        return "what answers there speaks no TLS; write http:// if the service has no TLS proxy in front"
    reason = (error.reason or "unknown reason").lower().replace("_", " ")
    return f"TLS could not be agreed on ({reason})"


def _address(error: httpx.TransportError) -> str:
    """The address of the request, without a password."""
    try:
        url = error.request.url
    except RuntimeError:  # it was never sent
        return "the service"
    return f"{url.scheme}://{url.netloc.decode()}"


def _reason(error: httpx.TransportError) -> str:
    """The cause, without the system's error number; time-outs and some broken connections have no text."""
    if isinstance(error, httpx.TimeoutException):
        return "the time-out has expired"
    return _ERROR_NUMBER.sub("", str(error)) or "the connection broke"
