"""Counted tokens are those that prefix caches would compute."""

from collections.abc import Sequence
from random import Random

import pytest

from benchmarks.counting import Counter, Lookup, ModelledCache
from benchmarks.prefix_sharing import fixed_order
from service.identifiers import Label, Row
from service.search.prompting import planner
from service.search.state.problem import Problem
from tests.support.inference.tiny import trie_size

PROBLEM = Problem(
    texts={Row(number): letter for number, letter in enumerate("abcdefghijkl")}, labels=("0", "1"), separator="\n"
)
GOLD = {row: Label(row % 2) for row in PROBLEM.rows}
EVEN = (-0.7, -0.7)


@pytest.fixture
def counter() -> Counter:
    lookup = Lookup(GOLD, dict.fromkeys(PROBLEM.rows, ((-0.1, -2.4), (-2.4, -0.1), EVEN)))
    return Counter(PROBLEM, lookup, len, ModelledCache(100_000))


def codes(prompts: Sequence[str]) -> list[list[int]]:
    return [list(map(ord, prompt)) for prompt in prompts]


def test_one_evaluation_costs_what_a_trie_of_its_prompts_holds(counter: Counter) -> None:
    tree = planner.leave_one_out(PROBLEM, PROBLEM.rows, GOLD)
    counter.answer(tree)
    prompts = [prompt for _, prompt in tree.prompts()]
    assert counter.prompts == len(prompts)
    assert counter.sent == sum(map(len, prompts))
    assert counter.cache.computed == trie_size(codes(prompts))


def test_in_fixed_order_only_what_follows_a_changed_label_is_computed_again(counter: Counter) -> None:
    rng = Random(0)
    labels = dict(GOLD)
    seen = fixed_order(PROBLEM, labels)
    counter.answer(planner.leave_one_out(PROBLEM, PROBLEM.rows, labels))
    for _ in range(5):
        row = rng.choice(PROBLEM.rows)
        labels[row] = Label(1 - labels[row])
        before, counted = seen, counter.fixed_order
        seen = fixed_order(PROBLEM, labels)
        counter.answer(planner.leave_one_out(PROBLEM, PROBLEM.rows, labels))
        new = trie_size(codes([*before, *seen])) - trie_size(codes(before))
        # for each row: a query asked again is counted whole, and so is a demonstration of which the label alone changed
        assert 0 <= counter.fixed_order - counted - new <= len(PROBLEM.rows) * len("a" + "a ")


def test_a_full_cache_evicts_the_least_recently_read() -> None:
    cache = ModelledCache(10)
    first = cache.read(0, (1,), 5)
    cache.read(0, (2,), 5)
    assert cache.read(0, (1,), 5) == first
    assert cache.computed == 10
    cache.read(0, (3,), 5)
    cache.read(0, (1,), 5)
    assert cache.computed == 15
    cache.read(0, (2,), 5)
    assert cache.computed == 20


def test_looked_up_scores_follow_the_labels_in_the_prompt(counter: Counter) -> None:
    inverted = {row: Label(1 - label) for row, label in GOLD.items()}
    others = [row for row in PROBLEM.rows if row != 0]
    for labels, expected in ((GOLD, -0.1), (inverted, -2.4)):
        answer = counter.answer(planner.behind(PROBLEM, others, labels, [Row(0)]))
        assert answer.log_probabilities[Row(0)][0] == pytest.approx(expected, abs=0.05)
