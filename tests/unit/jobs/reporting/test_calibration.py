from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.jobs.reporting.calibration import GoldTally, auroc
from service.jobs.task.gold import GoldReader, GoldValue
from service.records.labels import LabelState, LabelStatus
from tests.support.sources import config

Known = tuple[float, bool]


def state(label: int | None = 0, confidence: float | None = 0.9, margin: float | None = 1.0) -> LabelState:
    return LabelState(
        position=Row(0),
        label=None if label is None else Label(label),
        confidence=confidence,
        margin=margin,
        status=LabelStatus.LABELED,
    )


def tallied(*rows: tuple[LabelState, str]) -> GoldTally:
    tally = GoldTally(GoldReader(config(gold_field="gold").task))
    for label_state, gold in rows:
        tally.add(label_state, gold)
    return tally


def test_labels_are_compared_as_text_and_empty_cells_are_no_gold() -> None:
    found = tallied((state(), " true "), (state(), "False"), (state(None, None, None), "True"), (state(), "  "))
    agreement = found.agreement()
    assert (agreement.rows, agreement.labeled, agreement.agreeing, agreement.accuracy) == (3, 2, 1, 0.5)


def test_gold_that_is_no_label_is_neither_right_nor_wrong() -> None:
    odd = [(state(), gold) for gold in ("yes", "1.0", "yes ", "Ture")]
    found = tallied((state(), "True"), *odd, (state(None, None, None), "no"))
    agreement, calibration = found.agreement(), found.calibration()
    assert (agreement.rows, agreement.unmatched, agreement.labeled, agreement.accuracy) == (6, 5, 1, 1.0)
    assert agreement.unmatched_values[0] == GoldValue(value="yes", rows=2)
    assert calibration is not None
    assert calibration.rows == 1


def test_where_no_gold_is_a_label_there_is_no_accuracy() -> None:
    found = tallied((state(), "yes"), (state(1), "no"))
    assert found.agreement().accuracy is None
    assert found.calibration() is None


def test_confidence_is_put_beside_accuracy_bin_by_bin() -> None:
    right, wrong = (state(confidence=0.95), "True"), (state(confidence=0.97), "False")
    found = tallied(right, wrong, (state(confidence=0.61), "True"), (state(confidence=1.0), "True")).calibration()
    assert found is not None
    assert [(part.lower, part.upper, part.rows) for part in found.bins] == [(0.6, 0.7, 1), (0.9, 1.0, 3)]
    assert found.bins[1].confidence == pytest.approx(2.92 / 3)
    assert found.bins[1].accuracy == pytest.approx(2 / 3)
    assert found.expected_calibration_error == pytest.approx((0.39 + 3 * (2.92 / 3 - 2 / 3)) / 4)


def test_without_gold_or_confidence_there_is_no_calibration() -> None:
    assert tallied().calibration() is None
    assert tallied((state(confidence=None, margin=None), "True")).calibration() is None


def test_auroc_needs_right_and_wrong_labels() -> None:
    found = tallied((state(), "True")).calibration()
    assert found is not None
    assert found.auroc is None


@given(
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=20),
    st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=20),
)
def test_auroc_is_the_share_of_pairs_in_the_right_order(right: list[float], wrong: list[float]) -> None:
    won = sum((one > other) + (one == other) / 2 for one in right for other in wrong)
    assert auroc(Counter(right), Counter(wrong)) == pytest.approx(won / len(right) / len(wrong))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_the_calibration_error_is_a_share_and_every_row_is_in_one_bin(rows: list[Known]) -> None:
    found = tallied(*((state(confidence=p), "True" if right else "False") for p, right in rows)).calibration()
    assert found is not None
    assert sum(part.rows for part in found.bins) == found.rows == len(rows)
    assert 0 <= found.expected_calibration_error <= 1
    assert all(part.lower - 1e-9 <= part.confidence <= part.upper + 1e-9 for part in found.bins)  # a mean is rounded
