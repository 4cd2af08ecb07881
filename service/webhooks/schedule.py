"""Decides when to retry a webhook message, and when to give it up or disable its webhook. Pure.

The waits are those of Standard Webhooks: ten attempts within a little more than three days, so that a
receiver that fails on a Friday evening gets its messages on Monday.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus

from service.records.webhooks import Answer, DeliveryStatus, Verdict

_MINUTE, _HOUR = 60.0, 3600.0
WAITS_SECONDS = (
    5.0,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
MAX_TRIES = len(WAITS_SECONDS) + 1
JITTER = 0.2  # a wait is longer by up to this share, so that messages which failed together spread out
MAX_RETRY_AFTER_SECONDS = 24 * _HOUR  # upper bound for a receiver's Retry-After
PATIENCE = timedelta(days=5)  # time without a successful delivery after which a webhook is disabled

GONE = "gone: the receiver has answered 410, which means that it wants nothing more"


def wait_seconds(tries: int, *, random: Callable[[], float], retry_after_seconds: float | None = None) -> float | None:
    """The wait after `tries` failed attempts; None if there is no further attempt.

    `random` gives numbers in [0, 1). A receiver's Retry-After can make a wait longer, never shorter.
    """
    if tries >= MAX_TRIES:
        return None
    planned = WAITS_SECONDS[max(tries, 1) - 1] * (1.0 + JITTER * random())
    return max(planned, min(retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS))


def judge(answer: Answer | None, *, tries: int, random: Callable[[], float]) -> Verdict:
    """Decide after an attempt; `answer` is None if there was none, `tries` includes this attempt.

    Every status but 2xx is a failure. Redirects are not followed, since they may lead to an unchecked address.
    """
    if answer is not None and answer.status // 100 == 2:
        return Verdict(status=DeliveryStatus.DELIVERED)
    if answer is not None and answer.status == HTTPStatus.GONE:
        return Verdict(status=DeliveryStatus.FAILED, disable=GONE)
    requested = None if answer is None else answer.retry_after_seconds
    wait = wait_seconds(tries, random=random, retry_after_seconds=requested)
    if wait is None:
        return Verdict(status=DeliveryStatus.FAILED)
    return Verdict(status=DeliveryStatus.PENDING, wait_seconds=wait)


def given_up(failing_since: datetime | None, now: datetime) -> str | None:
    """The reason to disable a webhook after a further failed attempt; None if it stays enabled."""
    if failing_since is None or now - failing_since < PATIENCE:
        return None
    return f"failing: nothing has been delivered since {failing_since:%Y-%m-%d %H:%M} UTC"
