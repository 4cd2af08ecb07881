"""The small model's world: what its claims say and whether it is so."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.pretraining.world import LARGEST_NUMBER, TASKS, Claim, Task, in_words

NUMBERS = {str(number): number for number in range(LARGEST_NUMBER + 1)}
NUMBERS |= {in_words(number): number for number in range(LARGEST_NUMBER + 1)}
COMPARISONS = [task for task in TASKS if task.name.startswith("comparisons")]


def compared(claim: Claim) -> tuple[int, int]:
    return NUMBERS[claim.slots["first"]], NUMBERS[claim.slots["second"]]


@pytest.mark.parametrize("task", COMPARISONS, ids=lambda task: task.name)
@given(seed=st.integers(), truth=st.booleans())
def test_a_comparison_is_true_where_the_first_number_is_larger(task: Task, seed: int, truth: bool) -> None:
    claim = task.draw(Random(seed), truth)
    first, second = compared(claim)
    assert claim.truth == truth == (first > second)
    assert {claim.slots["left"], claim.slots["right"]} == {claim.slots["first"], claim.slots["second"]}


@given(seed=st.integers(), truth=st.booleans())
def test_a_sum_is_true_where_it_adds_up(seed: int, truth: bool) -> None:
    [additions] = [task for task in TASKS if task.name == "additions"]
    claim = additions.draw(Random(seed), truth)
    first, second, total = (int(claim.slots[slot]) for slot in ("first", "second", "total"))
    assert claim.truth == truth == (first + second == total)
    assert total > 0
