from random import Random

import pytest

from service.errors import BackendUnavailable
from service.scoring.failures import MAX_ATTEMPTS, MAX_DELAY_SECONDS, decide, retry_after_seconds


@pytest.mark.parametrize("attempt", range(1, MAX_ATTEMPTS))
def test_a_failure_that_may_pass_is_tried_again_after_a_bounded_delay(attempt: int) -> None:
    retry = decide(BackendUnavailable("down"), attempt, Random(0))
    assert retry is not None
    assert 0 <= retry.after_seconds <= min(MAX_DELAY_SECONDS, 0.25 * 2 ** (attempt - 1))


def test_the_last_attempt_is_the_last() -> None:
    assert decide(BackendUnavailable("down"), MAX_ATTEMPTS, Random(0)) is None


def test_the_servers_own_delay_is_obeyed() -> None:
    retry = decide(BackendUnavailable("busy", retry_after_seconds=40.0), 1, Random(0))
    assert retry is not None
    assert retry.after_seconds == 40.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (None, None),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_only_plain_seconds_are_read_from_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds
