"""Decides whether a failed call is retried, refused or reported as an outage.

Pure, so that tests can state every rule as a table. The first rules interpret an HTTP answer, the others decide about
the call. No rule makes a score out of a failure: a call ends with the server's answer or with an error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

from service.errors import BackendRefused, BackendUnavailable, FailureKind
from service.values import counted

FIRST_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 10.0
MAX_RETRY_AFTER_SECONDS = 60.0  # upper bound for the Retry-After that a server may ask for

# Failures of one call before the executor gives it up, counted only while the server answers other calls: a server
# may fail on a certain prompt every time. A lost connection says little about the prompt, so it counts less.
MAX_FAILURES = {
    FailureKind.SERVER: 6,
    FailureKind.MALFORMED: 6,
    FailureKind.TIMED_OUT: 4,
    FailureKind.DISCONNECTED: 12,
}

_PASSING = frozenset({408, 424, 425})  # transient, the request is not at fault: TGI sends 424 for a failure of its own
_NEVER = frozenset({501, 505})  # permanent server errors: the server cannot do this at all
_NO_SERVER = frozenset({502, 503, 504})  # a gateway without a server behind it, or a server that loads its model
# Phrases by which vLLM, SGLang and llama.cpp say in a 503 that their queue is full, in lower case.
_FULL_QUEUE = ("queue is full", "currently busy", "backlog limit", "waiting timeout", "overloaded", "too many requests")


def failed_answer(
    status: int, text: str, *, where: str, retry_after_seconds: float | None = None
) -> BackendUnavailable | BackendRefused:
    """Classify an HTTP answer other than success: overload, a transient failure, or a refusal.

    `where` names the call in the message. Statuses as vLLM, SGLang, TGI and llama.cpp use them, and RFC 9110, 15.
    """
    return _failure(f"{where} answered {status}: {text[:500]}", status, text, retry_after_seconds)


def error_in_body(error: object, text: str, *, where: str) -> BackendUnavailable | BackendRefused:
    """Classify an HTTP 200 whose body is an error, as if the answer had the status that the error names.

    Some servers and gateways send the status before they know the outcome. An error without a status counts as 500.
    """
    code = error.get("code") or error.get("status") if isinstance(error, Mapping) else None
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() else 500
    message = f"{where} answered 200 with an error: {text[:500]}"
    return _failure(message, status if 400 <= status < 600 else 500, text)


def _failure(
    message: str, status: int, text: str, retry_after_seconds: float | None = None
) -> BackendUnavailable | BackendRefused:
    if status == 429 or (status == 503 and _full_queue(text)):
        kind = FailureKind.OVERLOADED
    elif (status >= 500 and status not in _NEVER) or status in _PASSING:
        kind = FailureKind.SERVER
    else:
        return BackendRefused(message)
    return BackendUnavailable(message, retry_after_seconds, kind=kind, status=status)


def _full_queue(text: str) -> bool:
    lower = text.lower()
    return any(phrase in lower for phrase in _FULL_QUEUE)


def means_absence(error: BackendUnavailable) -> bool:
    """Whether the error means that no server was there; the one that comes back may hold another model."""
    loading = error.kind is FailureKind.SERVER and error.status in _NO_SERVER
    return error.kind is FailureKind.DISCONNECTED or loading


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds of an answer's Retry-After, which holds seconds or a date (RFC 9110, 10.2.3); None if unusable.

    `headers` has names in lower case. A date counts from the answer's own Date header, by the same clock.
    """
    after = headers.get("retry-after", "")
    try:
        seconds = float(after)
    except ValueError:
        then, now = _time(after), _time(headers.get("date", ""))
        return None if then is None or now is None else max(0.0, (then - now).total_seconds())
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _time(header: str) -> datetime | None:
    """The time of an HTTP date (RFC 9110, 5.6.7); None if the header holds none."""
    try:
        then = parsedate_to_datetime(header)
    except ValueError:
        return None
    return then if then.tzinfo else then.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The number of failures of one call, by cause."""

    overloads: int = 0  # refusals because of load
    failures: int = 0  # all others
    alone: int = 0  # of the `failures`, those during which the server answered other calls

    def with_failure(self, kind: FailureKind, *, others_answered: bool) -> "Attempts":
        """Add one failure. An overload counts apart, since it is not the call's fault."""
        if kind is FailureKind.OVERLOADED:
            return replace(self, overloads=self.overloads + 1)
        return replace(self, failures=self.failures + 1, alone=self.alone + others_answered)


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after this many seconds."""

    after_seconds: float


Verdict = Retry | BackendUnavailable | BackendRefused


def decide(
    error: BackendUnavailable, attempts: Attempts, rng: Random, *, outage_seconds: float, patience_seconds: float
) -> Verdict:
    """Decide after a failure when to retry the call, or with which error to end it.

    `outage_seconds` is the time for which the server has answered no call at all. BackendRefused: the server
    fails on this call again and again while it answers others. BackendUnavailable: the server has answered
    nothing for as long as the operator's patience, or this call does not get through.
    """
    allowed = MAX_FAILURES.get(FailureKind.DISCONNECTED if means_absence(error) else error.kind, math.inf)
    if attempts.alone >= allowed:
        return _give_up(error, attempts.alone)
    if outage_seconds >= patience_seconds:
        return outage_error(error, outage_seconds, retry_after_seconds=error.retry_after_seconds)
    return Retry(_delay_seconds(error, attempts, rng))


def outage_error(
    last: BackendUnavailable, outage_seconds: float, *, retry_after_seconds: float | None
) -> BackendUnavailable:
    """The error that ends a call in an outage: the last failure of any call, and the duration of the outage."""
    message = f"no call has been answered for {outage_seconds:.0f} s; at last: {last}"
    return BackendUnavailable(message, retry_after_seconds, kind=last.kind, status=last.status)


def crash_error(last: BackendUnavailable) -> BackendUnavailable:
    """The error that ends a call during which the server crashed, if the server answers other calls since."""
    message = f"the inference server ended while it was to answer this, and answers others since it is back: {last}"
    error = BackendUnavailable(message, kind=last.kind, status=last.status)
    error.died = True
    return error


def _give_up(error: BackendUnavailable, failures: int) -> BackendUnavailable | BackendRefused:
    message = f"failed {counted(failures, 'time')} while the server answered other calls; at last: {error}"
    if error.kind in (FailureKind.SERVER, FailureKind.MALFORMED) and not means_absence(error):
        return BackendRefused(message)
    return BackendUnavailable(message, error.retry_after_seconds, kind=error.kind, status=error.status)


def _delay_seconds(error: BackendUnavailable, attempts: Attempts, rng: Random) -> float:
    """Exponential back-off with full jitter, so that calls do not return together, on top of a Retry-After."""
    overloaded = error.kind is FailureKind.OVERLOADED
    failed = max(1, attempts.overloads if overloaded else attempts.failures)
    ceiling = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(failed - 1, 30))
    return min(error.retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS) + rng.uniform(0, ceiling)
