"""Limits the request rate of each API key by a token bucket."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import TooManyRequests
from service.identifiers import KeyId
from service.values import counted

WINDOW_SECONDS = 60.0
_MOST_BUCKETS = 10_000  # with more buckets, the limiter drops the full ones: a full bucket equals none


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a key's bucket after a request: the requests left, and the time until it is full again."""

    limit: int
    remaining: int
    full_in_seconds: float
    wait_seconds: float = 0.0  # until the next request is allowed, if this one exceeded the limit

    def check(self) -> None:
        """Raises TooManyRequests if this request exceeded the limit."""
        if self.wait_seconds:
            raise TooManyRequests(f"an API key may ask {counted(self.limit, 'time')} a minute", self.wait_seconds)

    def headers(self) -> dict[str, str]:
        """The response headers of draft-ietf-httpapi-ratelimit-headers-10: the policy, and the requests left."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w={WINDOW_SECONDS:.0f}',
            "RateLimit": f'"key";r={self.remaining};t={math.ceil(self.full_in_seconds)}',
        }


class RateLimiter:
    """One token bucket for each key, of `requests_per_minute` requests; it refills within a minute. 0: no limit."""

    def __init__(self, requests_per_minute: int, now: Callable[[], float]) -> None:
        self._limit = requests_per_minute
        self._per_second = requests_per_minute / WINDOW_SECONDS
        self._now = now
        self._full_at: dict[KeyId, float] = {}

    def take(self, key_id: KeyId) -> Standing | None:
        """Count a request if the limit allows it; return the bucket's state, or None if there is no limit."""
        if not self._limit:
            return None
        now = self._now()
        before = max(now, self._full_at.get(key_id, now))
        full_at = before + 1 / self._per_second
        missing = (full_at - now) * self._per_second
        if missing > self._limit + 1e-6:
            return Standing(self._limit, 0, before - now, (missing - self._limit) / self._per_second)
        self._full_at[key_id] = full_at
        if len(self._full_at) > _MOST_BUCKETS:
            self._full_at = {key: moment for key, moment in self._full_at.items() if moment > now}
        return Standing(self._limit, int(self._limit - missing + 1e-6), full_at - now)
