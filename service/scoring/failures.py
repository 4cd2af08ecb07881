"""Decides what to do about a failed call; pure, so that every rule can be tested as a table."""

import math
from dataclasses import dataclass
from random import Random

from service.errors import BackendUnavailable

MAX_ATTEMPTS = 6
FIRST_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after this many seconds."""

    after_seconds: float


def decide(error: BackendUnavailable, attempt: int, rng: Random) -> Retry | None:
    """Whether and when a call that failed for the n-th time (from 1) is tried again.

    Exponential back-off with full jitter; a server's own Retry-After is obeyed where it
    is the longer. Only calls that may succeed later get here: refusals are never retried.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    ceiling = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (attempt - 1))
    return Retry(max(error.retry_after_seconds or 0.0, rng.uniform(0, ceiling)))


def retry_after_seconds(header: str | None) -> float | None:
    """The seconds of a Retry-After header (RFC 9110, 10.2.3); dates and nonsense are not used."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
