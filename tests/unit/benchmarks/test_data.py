"""The benchmarks' rows agree with their relations and gold labels."""

from collections.abc import Callable

import pytest

from benchmarks.data import FALSE, TRUE, Dataset, even_name, related, unrelated
from service.search.rules.consistency import Constraints

FORM = "statement, question mark"
TASKS = ("comparisons", "capitals", "cities", "additions")


@pytest.mark.parametrize("task", TASKS)
def test_gold_labels_of_256_different_rows_break_no_relation(task: str) -> None:
    data = related(task, 256, 0, FORM)
    assert len({item.text for item in data.items}) == 256
    assert Constraints(tuple(data.gold), data.constraints).conflicts(data.gold) == []
    assert 0.25 < sum(item.gold == TRUE for item in data.items) / 256 <= 0.5


def test_of_two_twins_exactly_one_is_true() -> None:
    data = related("comparisons", 32, 0, FORM)
    assert len(data.constraints) == 16
    for constraint in data.constraints:
        assert sorted(data.gold[row] for row in constraint.rows) == [TRUE, FALSE]


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: related("cities", 64, seed, FORM, fresh=32),
        lambda seed: unrelated("cities", 64, seed, FORM, 0.9, fresh=32),
    ],
)
def test_a_seed_gives_the_same_rows_and_another_seed_others(draw: Callable[[int], Dataset]) -> None:
    assert draw(1) == draw(1)
    assert draw(1).items != draw(2).items


def test_fresh_rows_are_not_among_the_rows_and_half_of_them_are_true() -> None:
    data = related("capitals", 64, 3, FORM, fresh=40)
    assert {item.text for item in data.fresh}.isdisjoint(item.text for item in data.items)
    assert sum(item.gold == TRUE for item in data.fresh) == 20


def test_unrelated_rows_have_the_share_of_true_claims_asked_for() -> None:
    data = unrelated("comparisons", 40, 0, FORM, 0.1)
    assert sum(item.gold == TRUE for item in data.items) == 4
    assert data.constraints == ()


def test_rows_regarded_under_another_concept_keep_their_text_and_lose_their_relations() -> None:
    data = related("cities", 32, 0, FORM)
    other = data.regarded(even_name)
    assert [item.text for item in other.items] == [item.text for item in data.items]
    assert other.constraints == ()
    for item in other.items:
        letters = item.claim.slots["city"].replace(" ", "").replace("-", "").replace("'", "")
        assert (item.gold == TRUE) == (len(letters) % 2 == 0)


def test_more_rows_than_the_world_has_are_refused() -> None:
    with pytest.raises(ValueError, match="capitals has no more than"):
        related("capitals", 2000, 0, FORM)
