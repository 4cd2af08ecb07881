"""The small model's world: the texts of its claims and whether they are true."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.pretraining.world import LARGEST_NUMBER, TASKS, Claim, Task, in_words

NUMBERS = {str(number): number for number in range(LARGEST_NUMBER + 1)}
NUMBERS |= {in_words(number): number for number in range(LARGEST_NUMBER + 1)}
COMPARISONS = [task for task in TASKS if task.draws_hard]


def compared(claim: Claim) -> tuple[int, int]:
    return NUMBERS[claim.slots["first"]], NUMBERS[claim.slots["second"]]


@pytest.mark.parametrize("task", COMPARISONS, ids=lambda task: task.name)
@given(seed=st.integers(), truth=st.booleans(), data=st.data())
def test_a_comparison_is_true_where_the_first_number_is_larger(
    task: Task, seed: int, truth: bool, data: st.DataObject
) -> None:
    draw = data.draw(st.sampled_from((task.draw, *task.draws_hard)))
    claim = draw(Random(seed), truth)
    first, second = compared(claim)
    assert claim.truth == truth == (first > second)
    assert {claim.slots["left"], claim.slots["right"]} == {claim.slots["first"], claim.slots["second"]}


@pytest.mark.parametrize("task", COMPARISONS, ids=lambda task: task.name)
def test_hard_comparisons_are_of_the_same_tens_or_of_the_next_with_units_that_mislead(task: Task) -> None:
    within, across = (drawn_pairs(draw) for draw in task.draws_hard)
    numbers = set(range(LARGEST_NUMBER + 1))
    assert {number for pair in within for number in pair} == numbers
    assert {number for pair in across for number in pair} == numbers - {0, 99}
    assert all(smaller // 10 == larger // 10 for smaller, larger in within)
    assert all(smaller // 10 + 1 == larger // 10 and smaller % 10 > larger % 10 for smaller, larger in across)


def drawn_pairs(draw: Callable[[Random, bool], Claim]) -> list[list[int]]:
    """The two numbers of many claims, the smaller one first."""
    rng = Random(0)
    return [sorted(compared(draw(rng, rng.random() < 0.5))) for _ in range(4000)]


@given(seed=st.integers(), truth=st.booleans())
def test_a_sum_is_true_where_it_adds_up(seed: int, truth: bool) -> None:
    [additions] = [task for task in TASKS if task.name == "additions"]
    claim = additions.draw(Random(seed), truth)
    first, second, total = (int(claim.slots[slot]) for slot in ("first", "second", "total"))
    assert claim.truth == truth == (first + second == total)
    assert total > 0
