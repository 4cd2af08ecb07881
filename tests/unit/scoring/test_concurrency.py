from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.scoring.calls.concurrency_limit import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    START,
    AdaptiveLimit,
    CallStart,
)
from tests.long import LONG
from tests.unit.scoring.simulated_server import Server, Simulation, rates, simulate

refusing_or_not = pytest.mark.parametrize("refuses", [False, True], ids=["queues", "refuses"])


@refusing_or_not
@pytest.mark.parametrize("slots", [1, 8, 64])
def test_throughput_is_near_ideal_also_with_the_cold_start(slots: int, *, refuses: bool) -> None:
    server = Server(slots, refuses=refuses)
    found = simulate(server, most=256)
    assert found.rate(0, 60) >= 0.95 * server.calls_a_second
    assert found.rate(10, 60) >= 0.99 * server.calls_a_second


@settings(max_examples=30 if LONG else 10, deadline=None)
@given(
    slots=st.integers(1, 80),
    most=st.integers(1, 200),
    seconds=st.sampled_from([0.2, 0.5, 5.0]),
    spread=st.sampled_from([0.0, 0.3]),
    refuses=st.booleans(),
    seed=st.integers(0, 100),
)
def test_throughput_is_within_a_tenth_of_ideal_whatever_the_server(
    *, slots: int, most: int, seconds: float, spread: float, refuses: bool, seed: int
) -> None:
    server = Server(slots, seconds, refuses, spread)
    found = Simulation(AdaptiveLimit(most), server, seed).run(240 * seconds)
    ideal = min(slots, most) / seconds
    noise = 3 * spread * (200 * min(slots, most)) ** -0.5
    assert found.rate(40 * seconds, 240 * seconds) >= (0.9 - noise) * ideal
    assert all(1 <= limit <= most for _, limit in found.limits)


def test_a_cold_start_doubles_each_round() -> None:
    found = simulate(Server(64), seconds=2.5)
    rises = [START, *(after for (_, before), (_, after) in pairwise(found.limits) if after != before)]
    assert rises == [4, 8, 16, 32, 64]


def test_a_first_measurement_by_few_calls_does_not_keep_the_limit_low() -> None:
    for seed in range(20):
        found = simulate(Server(12, 0.5, spread=1.0), most=12, seconds=7, seed=seed)
        assert max(limit for _, limit in found.limits) == 12, seed


def test_the_limit_does_not_exceed_what_raises_throughput() -> None:
    assert simulate(Server(8), seconds=15).limit.limit == 8
    assert simulate(Server(8, refuses=True), seconds=15).limit.limit == 8


def test_refusals_are_few_once_the_limit_is_known() -> None:
    found = simulate(Server(64, refuses=True), most=256, seconds=300)
    assert sum(time > 5 for time in found.refused_at) <= 10


@refusing_or_not
def test_it_follows_a_server_that_gets_slower_and_faster(*, refuses: bool) -> None:
    few, many = Server(8, 0.5, refuses), Server(64, 0.5, refuses)
    changes = [(30.0, many), (60.0, few), (180.0, many), (240.0, Server(64, 2.0, refuses))]
    assert min(rates(Simulation(AdaptiveLimit(256), many), changes, window=20.0)) >= 0.9


def test_it_does_not_collapse_where_answers_come_too_late() -> None:
    server = Server(4, 1.0, patience_seconds=10.0)
    found = simulate(server, most=256, seconds=300)
    assert found.rate(100, 300) >= 0.95 * server.calls_a_second


def test_calls_refused_together_halve_the_limit_once() -> None:
    limit = AdaptiveLimit(64, start=32)
    calls = [limit.begin(0.0) for _ in range(32)]
    for call in calls[8:]:
        limit.overloaded(call)
    assert limit.limit == 16
    later = [limit.begin(1.0) for _ in range(8)]
    limit.overloaded(later[-1])
    assert limit.limit == 8


def test_after_a_whole_round_the_limit_returns_to_just_below_what_was_too_much() -> None:
    limit = AdaptiveLimit(64, start=32)
    calls = [limit.begin(0.0) for _ in range(32)]
    for call in calls[30:]:
        limit.overloaded(call)
    for number, call in enumerate(calls[:30]):
        limit.answered(call, 1 + number / 100)
        if number >= 14:
            calls.append(limit.begin(1 + number / 100))
    assert limit.limit == 16
    for call in calls[-16:]:
        limit.answered(call, 2.0)
    assert limit.limit == 30


def test_after_a_time_out_the_limit_stays_low_until_it_looks_again() -> None:
    limit = AdaptiveLimit(64, start=32)
    calls = [limit.begin(0.0) for _ in range(32)]
    for call in calls:
        limit.timed_out(call)
    assert limit.limit == 16
    found = Simulation(limit, Server(64), now=1.0).run(FIRST_PAUSE_SECONDS)
    assert {level for time, level in found.limits} == {16}
    assert found.run(60.0).limit.limit > 16


def test_a_limit_that_is_not_used_up_does_not_move() -> None:
    found = Simulation(AdaptiveLimit(64), Server(64)).run(60.0, demand=3)
    assert {limit for _, limit in found.limits} == {START}


def test_calls_of_another_sort_say_nothing_of_throughput() -> None:
    limit = AdaptiveLimit(64)
    for number in range(100):
        calls = [limit.begin(number, measured=False) for _ in range(START)]
        for call in calls:
            limit.answered(call, number + 0.5)
    assert limit.limit == START


def test_failures_that_are_not_for_load_leave_the_limit_alone() -> None:
    limit = AdaptiveLimit(64)
    for number in range(100):
        calls = [limit.begin(number) for _ in range(START)]
        for _ in calls:
            limit.dropped()
    assert limit.limit == START


def test_the_limit_tries_to_grow_ever_more_rarely_while_that_fails() -> None:
    found = simulate(Server(8, 0.5, refuses=True), seconds=600)
    looks = [time for (_, before), (time, after) in pairwise(found.limits) if after > before and time > 5]
    pauses = [round(later - earlier) for earlier, later in pairwise(looks)]
    assert pauses == sorted(pauses)
    assert LONGEST_PAUSE_SECONDS <= max(pauses) <= LONGEST_PAUSE_SECONDS + 5


@settings(deadline=None)
@given(
    most=st.integers(1, 100),
    ends=st.lists(st.tuples(st.sampled_from(["answered", "overloaded", "timed_out", "dropped"]), st.integers(0, 1000))),
)
def test_the_limit_is_never_below_one_nor_above_the_operators(most: int, ends: list[tuple[str, int]]) -> None:
    limit, under_way, now = AdaptiveLimit(most), list[CallStart](), 0.0
    for end, place in ends:
        while len(under_way) < limit.limit:
            under_way.append(limit.begin(now))
        now += 0.1
        call = under_way.pop(place % len(under_way))
        match end:
            case "answered":
                limit.answered(call, now)
            case "overloaded":
                limit.overloaded(call)
            case "timed_out":
                limit.timed_out(call)
            case _:
                limit.dropped()
        assert 1 <= limit.limit <= most
