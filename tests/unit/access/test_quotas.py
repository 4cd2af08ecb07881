import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.quotas import check_room, check_streams, limits_jobs, overridden, parsed_overrides
from service.access.rates import WINDOW_SECONDS, RateLimiter
from service.access.streams import StreamCounter
from service.errors import (
    InvalidInput,
    QuotaExceeded,
    QuotaExhausted,
    QuotaState,
    QuotaTooSmall,
    ServiceError,
    TooManyRequests,
)
from service.identifiers import KeyId, ProjectName
from service.records.access import NO_QUOTAS, Holdings, Quotas, Size

BIRDS = ProjectName("birds")
ANA, BEN = KeyId("ana"), KeyId("ben")
amounts = st.integers(min_value=0, max_value=20)


def usage(jobs: int = 0, rows: int = 0, length: int = 0, tokens: int = 0) -> Holdings:
    return Holdings(jobs_in_flight=jobs, rows=rows, bytes=length, tokens_today=tokens, seconds_left_today=500.0)


def refusal(quotas: Quotas, used: Holdings, size: Size = Size(rows=1, bytes=1)) -> ServiceError | None:  # noqa: B008 - a value
    try:
        check_room(quotas, used, size)
    except QuotaExceeded as error:
        return error
    return None


@given(amounts, amounts, amounts, amounts)
def test_without_quotas_there_is_room_for_everything(jobs: int, rows: int, length: int, tokens: int) -> None:
    assert refusal(NO_QUOTAS, usage(jobs, rows, length, tokens), Size(rows=rows, bytes=length)) is None
    assert not limits_jobs(NO_QUOTAS)


@given(st.integers(min_value=1, max_value=20), amounts)
def test_as_many_jobs_may_run_as_the_quota_says_and_no_more(limit: int, running: int) -> None:
    error = refusal(Quotas(jobs_in_flight=limit), usage(jobs=running))
    assert (error is None) == (running + 1 <= limit)
    if error is not None:
        assert isinstance(error, QuotaExhausted)
        assert error.state == QuotaState(quota="jobs_in_flight", limit=limit, used=running)


@given(st.sampled_from(["rows", "bytes"]), st.integers(min_value=1, max_value=20), amounts, amounts)
def test_stored_data_stays_within_the_quota(quota: str, limit: int, used: int, new: int) -> None:
    have = usage(rows=used) if quota == "rows" else usage(length=used)
    size = Size(rows=new, bytes=0) if quota == "rows" else Size(rows=0, bytes=new)
    error = refusal(Quotas(**{quota: limit}), have, size)
    assert (error is None) == (used + new <= limit)
    if error is not None:
        assert isinstance(error, QuotaExceeded)
        assert error.state == QuotaState(quota=quota, limit=limit, used=used)
        assert isinstance(error, QuotaTooSmall) == (new > limit)
        assert not isinstance(error, QuotaExhausted)  # waiting does not help


def test_tokens_run_out_until_midnight() -> None:
    quotas = Quotas(tokens_per_day=10)
    assert refusal(quotas, usage(tokens=9)) is None
    error = refusal(quotas, usage(tokens=10))
    assert isinstance(error, QuotaExhausted)
    assert error.retry_after_seconds == 500.0
    assert error.state == QuotaState(quota="tokens_per_day", limit=10, used=10)


def test_a_projects_own_quotas_replace_those_of_all_one_by_one() -> None:
    own = {"rows": 5, "jobs_in_flight": 0, "later": 3}
    assert overridden(Quotas(rows=1, bytes=2, jobs_in_flight=7), own) == Quotas(rows=5, bytes=2)


def test_a_change_of_quotas_keeps_the_others_and_can_be_undone() -> None:
    assert parsed_overrides({"rows": 7, "bytes": None}, {"bytes": 1, "event_streams": 0}) == {
        "rows": 7,
        "event_streams": 0,
    }


@pytest.mark.parametrize("changes", [{"row": 1}, {"rows": -1}, {"": None}])
def test_quotas_that_do_not_exist_cannot_be_set(changes: dict[str, int | None]) -> None:
    with pytest.raises(InvalidInput):
        parsed_overrides(changes, {})


def test_streams_are_counted_for_as_long_as_they_last() -> None:
    counter, quotas = StreamCounter(), Quotas(event_streams=2)
    with counter.counted(BIRDS, quotas), counter.counted(ProjectName("fish"), quotas):
        with counter.counted(BIRDS, quotas):
            with pytest.raises(QuotaExhausted) as refused, counter.counted(BIRDS, quotas):
                pass
            assert refused.value.state == QuotaState(quota="event_streams", limit=2, used=2)
        with counter.counted(BIRDS, quotas):
            assert counter.open_streams(BIRDS) == 2
    assert counter.open_streams(BIRDS) == 0


def test_a_quota_of_no_streams_is_no_limit() -> None:
    check_streams(NO_QUOTAS, 10**6)
    with pytest.raises(QuotaExhausted):
        check_streams(Quotas(event_streams=10**6), 10**6)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_key_may_send_requests_up_to_its_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(60, clock)
    left = [limiter.take(ANA) for _ in range(60)]
    assert [standing.remaining for standing in left if standing] == list(range(59, -1, -1))
    refused = limiter.take(ANA)
    assert refused is not None
    with pytest.raises(TooManyRequests) as error:
        refused.check()
    assert error.value.retry_after_seconds == pytest.approx(1.0)
    assert refused.headers() == {"RateLimit-Policy": '"key";q=60;w=60', "RateLimit": '"key";r=0;t=60'}
    assert limiter.take(BEN) is not None
    clock.now += 1.0
    standing = limiter.take(ANA)
    assert standing is not None
    assert standing.headers() == {"RateLimit-Policy": '"key";q=60;w=60', "RateLimit": '"key";r=0;t=60'}
    assert not passes(limiter, ANA)


@given(st.integers(min_value=1, max_value=100), st.lists(st.floats(min_value=0, max_value=30), max_size=300))
def test_no_window_lets_more_than_twice_the_limit_through(limit: int, waits: list[float]) -> None:
    clock = Clock()
    limiter = RateLimiter(limit, clock)
    passed = []
    for wait in waits:
        clock.now += wait
        if passes(limiter, ANA):
            passed.append(clock.now)
    for moment in passed:
        within = sum(moment <= other < moment + WINDOW_SECONDS for other in passed)
        assert within <= 2 * limit + 1


def test_a_request_after_the_announced_wait_is_accepted() -> None:
    clock = Clock()
    limiter = RateLimiter(7, clock)
    for _ in range(7):
        limiter.take(ANA)
    refused = limiter.take(ANA)
    assert refused is not None
    assert refused.wait_seconds > 0
    clock.now += refused.wait_seconds
    assert passes(limiter, ANA)


def test_without_a_limit_no_request_is_counted() -> None:
    limiter = RateLimiter(0, Clock())
    assert all(limiter.take(ANA) is None for _ in range(1000))


def passes(limiter: RateLimiter, key_id: KeyId) -> bool:
    standing = limiter.take(key_id)
    return standing is None or not standing.wait_seconds
