"""How often one API key may ask: a bucket of requests that fills up steadily."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import TooManyRequests
from service.identifiers import KeyId

WINDOW_SECONDS = 60.0
_MOST_BUCKETS = 10_000  # full ones are forgotten beyond it; a full one and none are the same


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a bucket, and in how many seconds it is full again."""

    limit: int
    remaining: int
    full_in_seconds: float
    wait_seconds: float = 0.0  # before the next request, where this one was one too many

    def check(self) -> None:
        """Raises TooManyRequests where this request was one too many."""
        if self.wait_seconds:
            raise TooManyRequests(f"an API key may ask {self.limit} times a minute", self.wait_seconds)

    def headers(self) -> dict[str, str]:
        """As of draft-ietf-httpapi-ratelimit-headers-10: the policy, and what is left of it."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w={WINDOW_SECONDS:.0f}',
            "RateLimit": f'"key";r={self.remaining};t={math.ceil(self.full_in_seconds)}',
        }


class RateLimiter:
    """Buckets of so many requests, one for each key; an empty one fills up within a minute. 0 is no limit."""

    def __init__(self, requests_per_minute: int, now: Callable[[], float]) -> None:
        self._limit = requests_per_minute
        self._per_second = requests_per_minute / WINDOW_SECONDS
        self._now = now
        self._full_at: dict[KeyId, float] = {}

    def take(self, key_id: KeyId) -> Standing | None:
        """Count a request that is not too many; what is left then, or None without a limit."""
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
