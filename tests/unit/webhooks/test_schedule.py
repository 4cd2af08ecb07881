"""When a message is sent again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.records.webhooks import Answer, DeliveryStatus
from service.webhooks.schedule import (
    JITTER,
    MAX_RETRY_AFTER_SECONDS,
    MAX_TRIES,
    PATIENCE,
    WAITS_SECONDS,
    given_up,
    judge,
    wait_seconds,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
TRIES = st.integers(1, MAX_TRIES - 1)
SHARE = st.floats(0, 1, exclude_max=True)
DAY = 24 * 3600.0


def test_ten_attempts_take_about_three_days() -> None:
    assert MAX_TRIES == 10
    assert 3 * DAY < sum(WAITS_SECONDS) < 3.5 * DAY
    assert list(WAITS_SECONDS) == sorted(WAITS_SECONDS)


@given(TRIES, SHARE)
def test_a_wait_is_the_planned_one_or_a_little_longer(tries: int, share: float) -> None:
    waited = wait_seconds(tries, random=lambda: share)
    assert waited is not None
    assert WAITS_SECONDS[tries - 1] <= waited <= WAITS_SECONDS[tries - 1] * (1 + JITTER)


@given(TRIES, SHARE, st.floats(0, allow_nan=False, allow_infinity=True))
def test_a_receiver_makes_a_wait_longer_within_a_day_and_never_shorter(tries: int, share: float, asked: float) -> None:
    plain = wait_seconds(tries, random=lambda: share)
    waited = wait_seconds(tries, random=lambda: share, retry_after_seconds=asked)
    assert plain is not None
    assert waited == max(plain, min(asked, MAX_RETRY_AFTER_SECONDS))


@given(st.integers(MAX_TRIES, 1_000), st.none() | st.floats(0, 1e9))
def test_a_message_fails_after_the_last_attempt(tries: int, asked: float | None) -> None:
    assert wait_seconds(tries, random=lambda: 0.0, retry_after_seconds=asked) is None


@given(st.integers(100, 599), st.integers(1, MAX_TRIES + 5))
def test_2xx_alone_is_success_and_410_alone_disables(status: int, tries: int) -> None:
    verdict = judge(Answer(status=status), tries=tries, random=lambda: 0.5)
    assert (verdict.status is DeliveryStatus.DELIVERED) == (200 <= status < 300)
    assert (verdict.disable is not None) == (status == 410)
    if not 200 <= status < 300 and status != 410:
        expected = DeliveryStatus.PENDING if tries < MAX_TRIES else DeliveryStatus.FAILED
        assert verdict.status is expected
        assert (verdict.wait_seconds > 0) == (tries < MAX_TRIES)


def test_no_answer_is_tried_again() -> None:
    assert judge(None, tries=1, random=lambda: 0.0).wait_seconds == WAITS_SECONDS[0]
    assert judge(None, tries=MAX_TRIES, random=lambda: 0.0).status is DeliveryStatus.FAILED


@pytest.mark.parametrize(
    ("failing_since", "is_over"),
    [(None, False), (NOW, False), (NOW - PATIENCE + timedelta(seconds=1), False), (NOW - PATIENCE, True)],
)
def test_an_endpoint_is_given_up_after_days_without_success(failing_since: datetime | None, is_over: bool) -> None:
    reason = given_up(failing_since, NOW)
    assert (reason is not None) == is_over
    assert not reason or "2026-11-20 00:00 UTC" in reason
