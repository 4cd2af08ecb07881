from typing import Any

import pytest

from service.jobs.task.gold import GoldReader
from tests.support.sources import config, survey

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def reader(*labels: str, **gold_values: str) -> GoldReader:
    return GoldReader(config(labels=list(labels), gold_field="gold", gold_values=gold_values).task)


@pytest.mark.parametrize(
    ("labels", "gold", "label"),
    [
        (("True", "False"), " fALSE\n", 1),
        ((COMPOSED, "bar"), DECOMPOSED, 0),
        ((DECOMPOSED, "bar"), COMPOSED.upper(), 0),
        (("0", "1"), "1.0", 1),
        (("1", "1.0"), "1.0", 1),
        (("True", "False"), "yes", None),
        (("very good", "bad"), "very  good", None),
    ],
)
def test_gold_is_the_label_that_it_names_as_text(labels: tuple[str, ...], gold: str, label: int | None) -> None:
    assert reader(*labels).of(gold) == label


@pytest.mark.parametrize(("gold", "label"), [("Yes ", 0), ("0.00", 1), ("True", 0), ("n/a", None)])
def test_a_mapping_says_which_label_a_gold_value_means(gold: str, label: int | None) -> None:
    assert reader("True", "False", **{"yes": "True", "no": "False", "1": "True", "0": "False"}).of(gold) == label


def test_a_mapping_goes_before_the_labels_own_names() -> None:
    assert reader("1", "0", **{"1": "0", "0": "1"}).of("1.0") == 1


@pytest.mark.parametrize("gold", [1.0, "1", True])
def test_gold_of_every_type_is_counted_by_its_text(gold: Any) -> None:
    task = config(labels=["1", "True"], gold_field="gold").task
    found = survey(task, {"q": "a", "gold": gold}, {"q": "b", "gold": " "}, {"q": "c", "gold": None}, {"q": "d"})
    assert (found.gold_rows, found.unmatched_gold.rows) == (1, 0)


def test_values_that_are_no_label_are_counted_the_most_frequent_first_and_cut_where_they_are_long() -> None:
    rows = [{"q": n, "gold": gold} for n, gold in enumerate(["no", "yes", "yes", "x" * 9_000, "True", *"abcdef"])]
    found = survey(config(gold_field="gold").task, *rows)
    assert (found.gold_rows, found.unmatched_gold.rows) == (11, 10)
    shown = found.unmatched_gold.commonest()
    assert [(value.value, value.rows) for value in shown[:3]] == [("yes", 2), ("no", 1), ("x" * 50, 1)]
    assert len(shown) == 5


def test_ever_more_different_values_are_counted_without_being_kept() -> None:
    found = survey(config(gold_field="gold").task, *({"q": n, "gold": f"value {n}"} for n in range(2_000)))
    assert found.unmatched_gold.rows == 2_000
    assert len(found.unmatched_gold._values) == 1_000
