"""Checks the token limits of a running job: its own limits, and its project's daily quota."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.access.quotas import check_tokens, overridden
from service.errors import QuotaExhausted
from service.ports.store import Store
from service.records.access import Quotas
from service.records.jobs import ClaimedShard

NOTICE_SECONDS = 600.0  # the longest wait before a paused job checks its quota again


@dataclass(frozen=True)
class Allowance:
    """The token limits of a shard's job; workers check them before they send prompts."""

    store: Store
    claimed: ClaimedShard
    quotas: Quotas  # the default ones

    async def permits(self, save: Callable[[], Awaitable[object]]) -> bool:
        """Whether the job's own limits allow another request; at the daily quota saves, then raises QuotaExhausted."""
        if await self.is_used_up():
            return False
        try:
            await self.check_daily_quota()
        except QuotaExhausted:
            await save()
            raise
        return True

    async def is_used_up(self) -> bool:
        """True if the whole job has reached one of its own limits; then it ends with the labels it has."""
        limits = self.claimed.config.limits
        if limits.max_tokens_computed is None and limits.max_seconds is None:
            return False
        async with self.store.worker_unit() as unit:
            tokens, seconds = await unit.shards.job_totals(self.claimed.lease.job_id)
        return tokens >= (limits.max_tokens_computed or math.inf) or seconds >= (limits.max_seconds or math.inf)

    async def check_daily_quota(self) -> None:
        """Raise QuotaExhausted, with the time of the next check, if the project has no tokens left today."""
        async with self.store.worker_unit() as unit:
            today = await unit.spendings.today(self.claimed.project)
        try:
            check_tokens(overridden(self.quotas, today.overrides), today.tokens, today.seconds_left_today)
        except QuotaExhausted as error:
            wait = min(error.retry_after_seconds, NOTICE_SECONDS)
            raise QuotaExhausted(_for_a_job(error), error.state, retry_after_seconds=wait) from error


def _for_a_job(error: QuotaExhausted) -> str:
    minutes = NOTICE_SECONDS / 60
    return f"{error}; the job goes on by itself at midnight, or within {minutes:.0f} minutes once the quota is raised"
