"""Whether and when to repeat a call: a pure decision on its outcome."""

from collections.abc import Callable
from dataclasses import dataclass

import httpx

Outcome = httpx.Response | httpx.TransportError

_WORTH_ANOTHER_TRY = frozenset({429, 502, 503, 504, 507})
_MOST_DOUBLINGS = 64  # beyond every longest delay, and still a finite number


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and after which delays the client repeats a call."""

    attempts: int = 6
    first_delay_seconds: float = 0.25
    longest_delay_seconds: float = 30.0

    def delay_seconds(
        self, outcome: Outcome, *, attempt: int, repeatable: bool, draw: Callable[[], float]
    ) -> float | None:
        """Return the seconds until the next attempt, or None if there should be none.

        `attempt` counts from 1; `draw` gives numbers from 0 to 1. The wait doubles, and a
        random half of it keeps many clients from returning at the same moment.
        """
        if not repeatable or attempt >= self.attempts or not _may_pass(outcome):
            return None
        requested = _retry_after_seconds(outcome)
        if requested is not None:
            return min(requested, self.longest_delay_seconds)
        longest = min(self.first_delay_seconds * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS), self.longest_delay_seconds)
        return longest * (0.5 + draw() / 2)


def _may_pass(outcome: Outcome) -> bool:
    if isinstance(outcome, httpx.Response):
        return outcome.status_code in _WORTH_ANOTHER_TRY
    return not isinstance(outcome, httpx.UnsupportedProtocol)


def _retry_after_seconds(outcome: Outcome) -> float | None:
    """The server's Retry-After in seconds. We ignore its other form, a date, which needs clocks that agree."""
    text = outcome.headers.get("Retry-After", "") if isinstance(outcome, httpx.Response) else ""
    return float(text) if text.isascii() and text.isdigit() else None
