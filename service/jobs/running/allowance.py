"""What a running job may still spend: up to its own limits it goes on, up to its project's quota of the day."""

import math
from dataclasses import dataclass

from service.access.quotas import check_tokens, overridden
from service.errors import QuotaExhausted
from service.ports.store import Store
from service.records.access import Quotas
from service.records.jobs import ClaimedShard

NOTICE_SECONDS = 600.0  # after which a quota that was raised is noticed at the latest


@dataclass(frozen=True)
class Allowance:
    """That of the job which a shard belongs to, as its workers look at it before they ask for more."""

    store: Store
    claimed: ClaimedShard
    quotas: Quotas  # of projects that have none of their own

    async def is_used_up(self) -> bool:
        """Whether the job as a whole has used up what its own limits allow, and ends with what there is."""
        limits = self.claimed.config.limits
        if limits.max_tokens_computed is None and limits.max_seconds is None:
            return False
        async with self.store.worker_unit() as unit:
            tokens, seconds = await unit.shards.job_totals(self.claimed.lease.job_id)
        return tokens >= (limits.max_tokens_computed or math.inf) or seconds >= (limits.max_seconds or math.inf)

    async def check_day(self) -> None:
        """Raise QuotaExhausted where the project has no tokens left today; it says when to look again."""
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
