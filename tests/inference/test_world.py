"""The small model's world: what its claims say and whether it is so."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.pretraining.world import LARGEST_NUMBER, TASKS, Claim, Task, in_words

NUMBERS = {str(number): number for number in range(LARGEST_NUMBER + 1)}
NUMBERS |= {in_words(number): number for number in range(LARGEST_NUMBER + 1)}
COMPARISONS = [task for task in TASKS if task.draw_hard]


def compared(claim: Claim) -> tuple[int, int]:
    return NUMBERS[claim.slots["first"]], NUMBERS[claim.slots["second"]]


@pytest.mark.parametrize("task", COMPARISONS, ids=lambda task: task.name)
@given(seed=st.integers(), truth=st.booleans(), hard=st.booleans())
def test_a_comparison_is_true_where_the_first_number_is_larger(task: Task, seed: int, truth: bool, hard: bool) -> None:
    draw = task.draw_hard if hard and task.draw_hard else task.draw
    claim = draw(Random(seed), truth)
    first, second = compared(claim)
    assert claim.truth == truth == (first > second)
    assert {claim.slots["left"], claim.slots["right"]} == {claim.slots["first"], claim.slots["second"]}


@pytest.mark.parametrize("task", COMPARISONS, ids=lambda task: task.name)
def test_hard_comparisons_are_of_all_numbers_with_the_same_tens(task: Task) -> None:
    assert task.draw_hard is not None
    rng = Random(0)
    drawn = [compared(task.draw_hard(rng, rng.random() < 0.5)) for _ in range(4000)]
    assert all(first // 10 == second // 10 for first, second in drawn)
    assert {number for pair in drawn for number in pair} == set(range(LARGEST_NUMBER + 1))


@given(seed=st.integers(), truth=st.booleans())
def test_a_sum_is_true_where_it_adds_up(seed: int, truth: bool) -> None:
    [additions] = [task for task in TASKS if task.name == "additions"]
    claim = additions.draw(Random(seed), truth)
    first, second, total = (int(claim.slots[slot]) for slot in ("first", "second", "total"))
    assert claim.truth == truth == (first + second == total)
    assert total > 0
