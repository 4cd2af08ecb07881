from collections.abc import Generator, Sequence
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search import evaluation
from service.search.consistency import Constraint, Rule
from service.search.problem import Problem
from service.search.prompt_tree import PromptTree, TreeScores
from service.search.redraw import EXACT_LABELLINGS, redraw
from service.search.repair import consistent_options, repair
from service.search.steps import Candidate
from tests.toy import ToyWorld

T = TypeVar("T")


def answered(world: ToyWorld, asking: Generator[Sequence[PromptTree], Sequence[TreeScores], T]) -> T:
    """Run a part of a search to its end on the toy world."""
    try:
        request = next(asking)
        while True:
            request = asking.send([world.answer(tree) for tree in request])
    except StopIteration as end:
        result: T = end.value
        return result


def evaluated(world: ToyWorld, problem: Problem, labels: dict[Row, Label]) -> Candidate:
    return answered(world, evaluation.leave_one_out(problem, labels))[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 1), min_size=10, max_size=10))
def test_repair_never_lowers_utility(seed: int, choice: list[int]) -> None:
    world = ToyWorld(10, 2, True, seed)
    problem = world.problem(seed)
    before = evaluated(world, problem, {Row(row): Label(label) for row, label in enumerate(choice)})
    after = answered(world, repair(problem, before, problem.random("repair")))
    assert after.utility >= before.utility
    assert after.utility == pytest.approx(world.utility(after.labels), abs=1e-9)


def test_repair_tries_every_consistent_option_for_a_contradiction() -> None:
    rows = {Row(0): "a", Row(1): "b"}
    rule = Constraint(Rule.AT_MOST_ONE, ((Row(0),), (Row(1),)), Label(0))
    problem = Problem(texts=rows, labels=("True", "False"), constraint_list=[rule])
    options = consistent_options(problem, {Row(0): Label(0), Row(1): Label(0)}, (Row(0), Row(1)))
    assert [tuple(option.values()) for option in options] == [(0, 1), (1, 0), (1, 1)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 2), st.floats(0, 1))
def test_redraw_adds_no_conflict_to_consistent_labels(seed: int, temperature: float, share: float) -> None:
    world = ToyWorld(8, 3, True, seed)
    problem, rng = world.problem(seed), world.problem(seed).random("test")
    scores = {row: tuple(rng.uniform(-5, 0) for _ in range(3)) for row in problem.rows}
    labels = redraw(problem, world.planted, scores, temperature=temperature, share=share, rng=rng)
    assert problem.constraints.conflicts(labels) == []
    assert set(labels) == set(problem.rows)


def test_a_cold_redraw_takes_the_likeliest_consistent_labelling_of_the_whole_group() -> None:
    rule = Constraint(Rule.EXACTLY_ONE, tuple((Row(row),) for row in range(3)), Label(0))
    problem = Problem(texts={Row(row): str(row) for row in range(3)}, labels=("T", "F"), constraint_list=[rule])
    scores = {Row(0): (-0.1, -2.0), Row(1): (-0.2, -5.0), Row(2): (-3.0, -0.1)}
    labels = redraw(problem, {}, scores, temperature=0.0, share=1.0, rng=problem.random("test"))
    assert labels == {0: 1, 1: 0, 2: 1}


def test_groups_too_large_to_enumerate_are_sampled_without_conflicts() -> None:
    size = 40
    rule = Constraint(Rule.DIFFERENT_LABEL, ((Row(0),), (Row(1),)), Label(0))
    tie = [Constraint(Rule.AT_MOST_ONE, ((Row(a),), (Row(a + 1),)), Label(0)) for a in range(1, size - 1)]
    problem = Problem(
        texts={Row(row): str(row) for row in range(size)}, labels=("T", "F"), constraint_list=[rule, *tie]
    )
    assert len(problem.groups) == 1
    rng = problem.random("test")
    scores = {row: (-0.1, -2.0) if row % 2 else (-2.0, -0.1) for row in problem.rows}
    labels = redraw(problem, {}, scores, temperature=0.05, share=1.0, rng=rng)
    assert problem.constraints.conflicts(labels) == []
    wanted = {row: Label(0 if row % 2 else 1) for row in problem.rows}
    assert sum(labels[row] == wanted[row] for row in problem.rows) >= size - 4
    assert 2**size > EXACT_LABELLINGS
