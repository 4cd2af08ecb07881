"""Decides what to do about a failed call; pure, so that every rule can be tested as a table.

First what an HTTP answer means, then whether the call that got it is made again. No rule
makes a score out of a failure: a call ends with the server's answer or with an error.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

from service.errors import BackendRefused, BackendUnavailable, FailureKind

FIRST_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 10.0
MAX_RETRY_AFTER_SECONDS = 60.0  # a server that asks for more is tried again sooner

# Failures of one call before it is given up, counted only while the server answers other calls. A server
# that fails on a prompt each time would do so for ever; a lost connection says little of the prompt.
MAX_FAILURES = {
    FailureKind.SERVER: 6,
    FailureKind.MALFORMED: 6,
    FailureKind.TIMED_OUT: 4,
    FailureKind.DISCONNECTED: 12,
}

_PASSING = frozenset({408, 424, 425})  # say nothing against the request: with 424 TGI means a failure of its own
_NEVER = frozenset({501, 505})  # server errors that another attempt does not mend: the server cannot do this
_NO_SERVER = frozenset({502, 503, 504})  # a gateway without a server behind it, or a server that loads its model
# What vLLM, SGLang and llama.cpp say with a 503 when their queue is full, in lower case.
_FULL_QUEUE = ("queue is full", "currently busy", "backlog limit", "waiting timeout", "overloaded", "too many requests")


def failed_answer(
    status: int, text: str, *, where: str, retry_after_seconds: float | None = None
) -> BackendUnavailable | BackendRefused:
    """What an HTTP answer other than success means: 429 and a full queue, a failure that may pass, or a refusal.

    `where` names the call in the message. Statuses: what vLLM, SGLang, TGI and llama.cpp give, and RFC 9110, 15.
    """
    message = f"{where} answered {status}: {text[:500]}"
    if status == 429 or (status == 503 and _full_queue(text)):
        kind = FailureKind.OVERLOADED
    elif (status >= 500 and status not in _NEVER) or status in _PASSING:
        kind = FailureKind.SERVER
    else:
        return BackendRefused(message)
    return BackendUnavailable(message, retry_after_seconds, kind=kind, status=status)


def said_error(error: object, text: str, *, where: str) -> BackendUnavailable | BackendRefused:
    """What a good answer means that holds an error: the same as an answer of the status that the error names.

    Some servers and gateways answer 200 before they know how it ends. An error that names no status is the server's.
    """
    code = error.get("code") or error.get("status") if isinstance(error, Mapping) else None
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() else 500
    failure = failed_answer(status if 400 <= status < 600 else 500, text, where=where)
    message = f"{where} answered 200 with an error: {text[:500]}"
    if isinstance(failure, BackendRefused):
        return BackendRefused(message)
    return BackendUnavailable(message, kind=failure.kind, status=failure.status)


def _full_queue(text: str) -> bool:
    said = text.lower()
    return any(phrase in said for phrase in _FULL_QUEUE)


def speaks_of_absence(error: BackendUnavailable) -> bool:
    """Whether the server was not there: what answers when it is back may be another one."""
    loading = error.kind is FailureKind.SERVER and error.status in _NO_SERVER
    return error.kind is FailureKind.DISCONNECTED or loading


def retry_after_seconds(header: str | None, *, now: datetime | None = None) -> float | None:
    """The seconds of a Retry-After header, which holds them or a date (RFC 9110, 10.2.3).

    Dates are read against `now`, best the answer's own Date header, and not used without it; nonsense never is.
    """
    try:
        seconds = float(header or "")
    except ValueError:
        then = moment(header)
        return None if then is None or now is None else max(0.0, (then - now).total_seconds())
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def moment(header: str | None) -> datetime | None:
    """The time of an HTTP date (RFC 9110, 5.6.7); None where there is none."""
    try:
        then = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return then if then.tzinfo else then.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often one call has failed.

    `overloads` with the server's word that it had too much to do; `failures` in any other way;
    `alone` those of the failures during which the server answered other calls.
    """

    overloads: int = 0
    failures: int = 0
    alone: int = 0

    def with_failure(self, kind: FailureKind, *, others_answered: bool) -> "Attempts":
        """One failure more. An overloaded server is no fault of the call's and not held against it."""
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
    """When a call that has just failed is tried again, or the error it ends with.

    `outage_seconds` is for how long no call at all has been answered. Refused: the server fails
    on this call again and again while it answers others. Unavailable: nothing has been answered
    for as long as the operator's patience lasts, or this call does not get through.
    """
    allowed = MAX_FAILURES.get(FailureKind.DISCONNECTED if speaks_of_absence(error) else error.kind, math.inf)
    if attempts.alone >= allowed:
        return _given_up(error, attempts.alone)
    if outage_seconds >= patience_seconds:
        return outage_error(error, outage_seconds, retry_after_seconds=error.retry_after_seconds)
    return Retry(_delay_seconds(error, attempts, rng))


def outage_error(
    last: BackendUnavailable, outage_seconds: float, *, retry_after_seconds: float | None
) -> BackendUnavailable:
    """What a call ends with in an outage: the last failure, whichever call's it was, and how long nothing else came."""
    message = f"no call has been answered for {outage_seconds:.0f} s; at last: {last}"
    return BackendUnavailable(message, retry_after_seconds, kind=last.kind, status=last.status)


def died(last: BackendUnavailable) -> BackendUnavailable:
    """What a call ends with during which the server itself ended, if others are answered since it is back."""
    message = f"the inference server ended while it was to answer this, and answers others since it is back: {last}"
    error = BackendUnavailable(message, kind=last.kind, status=last.status)
    error.died = True
    return error


def _given_up(error: BackendUnavailable, failures: int) -> BackendUnavailable | BackendRefused:
    message = f"failed {failures} times while the server answered other calls; at last: {error}"
    if error.kind in (FailureKind.SERVER, FailureKind.MALFORMED) and not speaks_of_absence(error):
        return BackendRefused(message)
    return BackendUnavailable(message, error.retry_after_seconds, kind=error.kind, status=error.status)


def _delay_seconds(error: BackendUnavailable, attempts: Attempts, rng: Random) -> float:
    """Exponential back-off with full jitter, on top of what the server asks for, lest calls return all together."""
    overloaded = error.kind is FailureKind.OVERLOADED
    failed = max(1, attempts.overloads if overloaded else attempts.failures)
    ceiling = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(failed - 1, 30))
    return min(error.retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS) + rng.uniform(0, ceiling)
