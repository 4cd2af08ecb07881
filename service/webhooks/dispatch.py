"""Sends one webhook message and records the attempt; delivers at least once, and sends outside of transactions.

If the process dies between the receiver's answer and the record, the lease expires and another attempt sends the
message again under the same `webhook-id`, by which receivers recognise it.
"""

import random
import time

import structlog

from service.errors import LeaseLost
from service.ports.store import Store
from service.ports.webhooks import Sender
from service.records.webhooks import Answer, Attempt, DueDelivery, NotDelivered, Verdict
from service.webhooks.schedule import judge
from service.webhooks.signing import signed_headers

logger = structlog.get_logger(__name__)

USER_AGENT = "icm-service-webhooks/1"


async def deliver(store: Store, sender: Sender, due: DueDelivery) -> None:
    """Make one attempt at a claimed delivery. Raises StorageUnavailable; then another attempt follows."""
    begun = time.monotonic()
    answer, error = await _posted(sender, due)
    attempt = Attempt(
        at=due.claimed_at,
        seconds=round(time.monotonic() - begun, 3),
        status=None if answer is None else answer.status,
        error=error,
    )
    verdict = judge(answer, tries=due.tries, random=random.random)
    _tell(due, attempt, verdict)
    try:
        async with store.worker_unit() as unit:
            await unit.deliveries.record(due.lease, attempt, verdict)
    except LeaseLost:
        logger.warning("a delivery took longer than its lease, or is gone", delivery=due.lease.delivery_id)


async def _posted(sender: Sender, due: DueDelivery) -> tuple[Answer | None, str | None]:
    """The answer, if there was one, and the error, if there was one."""
    headers = {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        **signed_headers(due.lease.delivery_id, due.body, due.secrets, due.claimed_at),
    }
    try:
        answer = await sender.post(due.url, due.body, headers)
    except NotDelivered as error:
        return None, str(error)
    if answer.status // 100 == 2:
        return answer, None
    return answer, f"refused: the receiver has answered {answer.status}"


def _tell(due: DueDelivery, attempt: Attempt, verdict: Verdict) -> None:
    """Log the attempt, without address, body or secret."""
    logger.info(
        "webhook sent" if attempt.error is None else "webhook failed",
        webhook=due.lease.webhook_id,
        delivery=due.lease.delivery_id,
        tries=due.tries,
        answer=attempt.status,
        error=attempt.error,
        status=verdict.status.value,
    )
