"""When a message is sent again, and when that is given up. Nothing here waits or sends.

The waits are those that Standard Webhooks proposes: ten tries within a little more than three days, so that
a receiver that fails on a Friday evening is served on Monday.
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
JITTER = 0.2  # a wait is longer by up to this share, so that what failed together does not come back together
MAX_RETRY_AFTER_SECONDS = 24 * _HOUR  # a receiver may ask for more time, within this
PATIENCE = timedelta(days=5)  # with an endpoint that nothing has reached

GONE = "gone: the receiver has answered 410, which means that it wants nothing more"


def wait_seconds(tries: int, *, random: Callable[[], float], retry_after_seconds: float | None = None) -> float | None:
    """How long to wait after so many tries in vain; None where that was the last one.

    `random` gives numbers in [0, 1). A receiver can make a wait longer, never shorter.
    """
    if tries >= MAX_TRIES:
        return None
    planned = WAITS_SECONDS[max(tries, 1) - 1] * (1.0 + JITTER * random())
    return max(planned, min(retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS))


def judge(answer: Answer | None, *, tries: int, random: Callable[[], float]) -> Verdict:
    """What follows from a try: `answer` is None where no answer came, `tries` counts this one.

    Every status but 2xx is a failure: a redirect is not followed, since it would lead to where nobody has looked.
    """
    if answer is not None and answer.status // 100 == 2:
        return Verdict(status=DeliveryStatus.DELIVERED)
    if answer is not None and answer.status == HTTPStatus.GONE:
        return Verdict(status=DeliveryStatus.FAILED, disable=GONE)
    asked = None if answer is None else answer.retry_after_seconds
    wait = wait_seconds(tries, random=random, retry_after_seconds=asked)
    if wait is None:
        return Verdict(status=DeliveryStatus.FAILED)
    return Verdict(status=DeliveryStatus.PENDING, wait_seconds=wait)


def given_up(failing_since: datetime | None, now: datetime) -> str | None:
    """Why an endpoint is to be disabled after one more try in vain; None where it is not."""
    if failing_since is None or now - failing_since < PATIENCE:
        return None
    return f"failing: nothing has been delivered since {failing_since:%Y-%m-%d %H:%M} UTC"
