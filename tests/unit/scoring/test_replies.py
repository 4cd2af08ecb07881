"""Values of inference servers' replies are read alike, whatever a server writes for them."""

import math

import pytest

from service.scoring.wires.replies import IMPOSSIBLE_NATS, log_probability


@pytest.mark.parametrize("value", [-9999.0, -9999, -10_000.0, -3.4028234663852886e38, -math.inf])
def test_whatever_a_server_writes_for_the_logarithm_of_0_is_minus_infinity(value: float) -> None:
    assert log_probability(value) == -math.inf


@pytest.mark.parametrize("value", [0.0, -0.5, -120.0, IMPOSSIBLE_NATS + 1])
def test_small_probabilities_are_numbers(value: float) -> None:
    assert log_probability(value) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "-1", None])
def test_what_is_no_log_probability_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="is no log-probability"):
        log_probability(value)
