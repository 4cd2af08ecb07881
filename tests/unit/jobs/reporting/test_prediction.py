from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.identifiers import Label
from service.jobs.reporting.prediction import balanced_accuracy, learn_thresholds, learn_values


def labels(*numbers: int) -> list[Label]:
    return [Label(number) for number in numbers]


def halves(count: int) -> list[bool]:
    return [number % 2 == 0 for number in range(count)]


def test_one_threshold_separates_two_labels() -> None:
    rule = learn_thresholds(list(zip([1.0, 2.0, 3.0, 4.0], labels(0, 0, 1, 1), strict=True)))
    assert [rule(value) for value in (-9.0, 2.5, 3.0, 9.0)] == [0, 0, 1, 1]


def test_two_thresholds_separate_three_labels() -> None:
    found = [Label(number // 10) for number in range(30)]
    rule = learn_thresholds([(float(number), label) for number, label in enumerate(found)])
    assert [rule(float(number)) for number in range(30)] == found


def test_equal_numbers_are_never_separated() -> None:
    rule = learn_thresholds([(1.0, Label(0)), (1.0, Label(1)), (1.0, Label(1))])
    assert rule(0.0) == rule(1.0) == rule(2.0)


def test_a_rule_learned_from_nothing_has_no_opinion() -> None:
    assert learn_thresholds([])(1.0) is None
    assert learn_values(list[tuple[str, Label]]())("a") is None


def test_a_value_predicts_the_label_that_it_raises_most() -> None:
    rows = [("a", Label(0))] * 5 + [("a", Label(1))] * 2 + [("b", Label(0))] * 15
    rule = learn_values(rows)
    assert (rule("a"), rule("b"), rule("c")) == (1, 0, None)  # label 1 is never beside anything else


@pytest.mark.parametrize("learn", [learn_values, learn_thresholds])
def test_a_feature_that_decides_the_label_is_certain(learn: object) -> None:
    found = [Label(number % 3) for number in range(60)]
    values = [float(label) for label in found]
    both = [number % 4 < 2 for number in range(60)]
    assert balanced_accuracy(values, found, both, learn) == 1.0  # type: ignore[arg-type]  # either of the learners


@given(st.integers(0, 1000), st.floats(0.05, 0.5))
def test_a_feature_of_no_meaning_is_no_better_than_chance_however_uneven_the_labels(seed: int, share: float) -> None:
    rng = Random(seed)
    found = [Label(int(rng.random() < share)) for _ in range(400)]
    numbers = [rng.random() for _ in found]
    assert balanced_accuracy(numbers, found, halves(400), learn_thresholds) < 0.85


def test_values_that_occur_once_predict_nothing() -> None:
    found = [Label(number % 2) for number in range(100)]
    names = [f"name {number}" for number in range(100)]
    assert balanced_accuracy(names, found, halves(100), learn_values) == pytest.approx(0.5)


def test_always_the_commonest_label_is_chance() -> None:
    found = labels(*[0] * 90, *[1] * 10)
    assert balanced_accuracy(["same"] * 100, found, halves(100), lambda _: lambda _: Label(0)) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(-5, 5).map(float), st.integers(0, 3).map(Label)), min_size=2, max_size=40))
def test_thresholds_beat_every_single_label_on_what_they_were_learned_from(rows: list[tuple[float, Label]]) -> None:
    rule = learn_thresholds(rows)
    classes = {label for _, label in rows}
    recalls = [
        sum(rule(value) == label for value, label in rows if label == one) / sum(label == one for _, label in rows)
        for one in classes
    ]
    assert sum(recalls) / len(classes) >= 1 / len(classes) - 1e-9
