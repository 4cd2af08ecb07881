import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.reporting.facts import SearchFacts
from service.jobs.reporting.proportions import known_accuracy, proportion


@pytest.mark.parametrize(
    ("hits", "rows", "lower", "upper"),
    [(14, 16, 0.640, 0.965), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (50, 100, 0.404, 0.596)],
)
def test_the_interval_is_wilson_s(hits: int, rows: int, lower: float, upper: float) -> None:
    found = proportion(hits, rows)
    assert found is not None
    assert (found.hits, found.rows, found.share) == (hits, rows, hits / rows)
    assert found.lower == pytest.approx(lower, abs=6e-4)
    assert found.upper == pytest.approx(upper, abs=6e-4)


@given(st.integers(1, 10_000), st.data())
def test_the_interval_holds_the_share_and_lies_between_0_and_1(rows: int, data: st.DataObject) -> None:
    found = proportion(data.draw(st.integers(0, rows)), rows)
    assert found is not None
    assert 0 <= found.lower <= found.share + 1e-12
    assert found.share - 1e-12 <= found.upper <= 1
    assert found.lower < found.upper


def test_nothing_is_estimated_from_no_rows() -> None:
    assert proportion(0, 0) is None
    assert known_accuracy(SearchFacts(utility=None)) is None
    assert known_accuracy(SearchFacts(utility=None, known_rows=0, known_right=0)) is None


def test_accuracy_is_estimated_from_the_known_rows_that_were_left_out() -> None:
    assert known_accuracy(SearchFacts(utility=None, known_rows=16, known_right=14)) == proportion(14, 16)
