import math

import pytest

from service.scoring.calls.circuit_breaker import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    CircuitBreaker,
)


def opened(now: float = 100.0) -> CircuitBreaker:
    circuit = CircuitBreaker()
    for _ in range(FAILURES_TO_OPEN):
        circuit.failed(now, trial=circuit.start_call())
    return circuit


def test_calls_go_through_while_failures_are_few() -> None:
    circuit = CircuitBreaker()
    for _ in range(10):
        for _ in range(FAILURES_TO_OPEN - 1):
            circuit.failed(1.0, trial=circuit.start_call())
        assert circuit.wait_seconds(1.0) == 0
        circuit.answered(2.0)


def test_failures_in_a_row_keep_calls_back_until_a_pause_is_over() -> None:
    circuit = opened(100.0)
    assert circuit.wait_seconds(100.0) == FIRST_PAUSE_SECONDS
    assert circuit.wait_seconds(100.0 + FIRST_PAUSE_SECONDS) == 0


def test_one_call_at_a_time_is_a_trial() -> None:
    circuit = opened(100.0)
    assert circuit.start_call()
    assert circuit.trial_under_way
    assert circuit.wait_seconds(1000.0) == math.inf


def test_a_trial_that_is_answered_lets_all_through() -> None:
    circuit = opened(100.0)
    circuit.start_call()
    circuit.answered(101.0)
    assert (circuit.wait_seconds(101.0), circuit.failing_since, circuit.answered_at) == (0, None, 101.0)
    assert not circuit.start_call()


def test_each_trial_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    circuit, now, pauses = opened(100.0), 100.0, list[float]()
    for _ in range(8):
        pauses.append(circuit.wait_seconds(now))
        now += pauses[-1]
        circuit.failed(now, trial=circuit.start_call())
    assert pauses == [0.5, 1, 2, 4, 8, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    assert circuit.failing_since == 100.0
    assert circuit.outage_seconds(now) == now - 100.0


def test_after_an_answer_pauses_are_short_again() -> None:
    circuit = opened(100.0)
    for now in (110.0, 120.0, 130.0):
        circuit.failed(now, trial=circuit.start_call())
    circuit.answered(140.0)
    for _ in range(FAILURES_TO_OPEN):
        circuit.failed(150.0, trial=circuit.start_call())
    assert circuit.wait_seconds(150.0) == FIRST_PAUSE_SECONDS


def test_late_failures_of_calls_begun_before_do_not_prolong_the_pause() -> None:
    circuit = opened(100.0)
    for _ in range(50):
        circuit.failed(100.4, trial=False)
    assert circuit.wait_seconds(100.5) == 0


def test_a_late_answer_of_a_call_begun_before_lets_all_through() -> None:
    circuit = opened(100.0)
    circuit.start_call()
    circuit.answered(100.6)
    assert circuit.wait_seconds(100.6) == 0
    circuit.failed(100.7, trial=True)
    assert circuit.wait_seconds(100.7) == 0


def test_an_abandoned_trial_makes_room_for_another() -> None:
    circuit = opened(100.0)
    circuit.abandoned(trial=circuit.start_call() if circuit.wait_seconds(100.5) == 0 else False)
    assert circuit.wait_seconds(100.5) == 0
    assert circuit.start_call()


def test_an_overload_closes_the_circuit_but_counts_as_outage() -> None:
    circuit = opened(100.0)
    circuit.start_call()
    circuit.overloaded(101.0)
    assert circuit.wait_seconds(101.0) == 0
    assert circuit.failing_since == 100.0


@pytest.mark.parametrize(("asked", "obeyed"), [(3.0, 3.0), (0.1, FIRST_PAUSE_SECONDS), (900.0, LONGEST_PAUSE_SECONDS)])
def test_a_server_that_names_a_pause_is_not_called_for_that_long_within_limits(asked: float, obeyed: float) -> None:
    circuit = CircuitBreaker()
    for _ in range(FAILURES_TO_OPEN):
        circuit.failed(100.0, trial=False, retry_after_seconds=asked)
    assert circuit.wait_seconds(100.0) == pytest.approx(obeyed)


def test_it_can_be_opened_by_hand() -> None:
    circuit = CircuitBreaker()
    circuit.failed(100.0, trial=False)
    circuit.trip(160.0)
    assert circuit.wait_seconds(160.0) == FIRST_PAUSE_SECONDS
    circuit.trip(160.4)
    assert circuit.wait_seconds(160.5) == 0


def test_old_failures_do_not_count_after_a_time_without_calls() -> None:
    circuit = CircuitBreaker()
    circuit.failed(100.0, trial=False)
    circuit.idle()
    assert circuit.outage_seconds(5000.0) == 0
    circuit = opened(100.0)
    circuit.idle()
    assert circuit.outage_seconds(5000.0) == 4900
