import itertools
import math
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.moves.redraw import redraw, redraw_groups
from service.search.moves.repair import consistent_options, most_promising, repair
from service.search.prompting import evaluation
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Problem
from service.search.state.steps import Candidate
from tests.long import LONG, examples
from tests.toy import ToyWorld, resolve


def evaluated(world: ToyWorld, problem: Problem, labels: dict[Row, Label]) -> Candidate:
    return resolve(world, evaluation.leave_one_out(problem, labels))[0]


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 1), min_size=10, max_size=10))
def test_repair_never_lowers_utility(seed: int, choice: list[int]) -> None:
    world = ToyWorld(10, 2, True, seed)
    problem = world.problem(seed)
    before = evaluated(world, problem, {Row(row): Label(label) for row, label in enumerate(choice)})
    after = resolve(world, repair(problem, before, problem.random("repair")))
    assert after.utility >= before.utility
    assert after.utility == pytest.approx(world.utility(after.labels), abs=1e-9)


def test_repair_tries_every_consistent_option_for_a_contradiction() -> None:
    rows = {Row(0): "a", Row(1): "b"}
    rule = Constraint(Rule.AT_MOST_ONE, ((Row(0),), (Row(1),)), Label(0))
    problem = Problem(texts=rows, labels=("True", "False"), constraint_list=[rule])
    options = consistent_options(problem, {Row(0): Label(0), Row(1): Label(0)}, (Row(0), Row(1)))
    assert [tuple(option.values()) for option in options] == [(0, 1), (1, 0), (1, 1)]


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_redraw_adds_no_conflict_to_consistent_labels(seed: int, is_random: bool) -> None:
    world = ToyWorld(8, 3, True, seed)
    problem, rng = world.problem(seed), world.problem(seed).random("test")
    scores = {row: tuple(rng.uniform(-5, 0) for _ in range(3)) for row in problem.rows}
    labels = redraw(problem, world.planted, scores, rng if is_random else None)
    assert problem.constraints.conflicts(labels) == []
    assert set(labels) == set(problem.rows)


def test_a_redraw_without_randomness_takes_the_likeliest_consistent_labelling_of_the_whole_group() -> None:
    rule = Constraint(Rule.EXACTLY_ONE, tuple((Row(row),) for row in range(3)), Label(0))
    problem = Problem(texts={Row(row): str(row) for row in range(3)}, labels=("T", "F"), constraint_list=[rule])
    scores = {Row(0): (-0.1, -2.0), Row(1): (-0.2, -5.0), Row(2): (-3.0, -0.1)}
    assert redraw(problem, {}, scores) == {0: 1, 1: 0, 2: 1}


def chained(size: int) -> Problem:
    """One group of so many rows: the first two differ, and of two neighbours at most one has the first label."""
    differ = Constraint(Rule.DIFFERENT_LABEL, ((Row(0),), (Row(1),)), Label(0))
    neighbours = [Constraint(Rule.AT_MOST_ONE, ((Row(a),), (Row(a + 1),)), Label(0)) for a in range(1, size - 1)]
    texts = {Row(row): str(row) for row in range(size)}
    return Problem(texts=texts, labels=("T", "F"), constraint_list=[differ, *neighbours])


def test_groups_too_large_to_enumerate_are_drawn_without_conflicts() -> None:
    problem = chained(40)
    assert len(problem.groups) == 1
    scores = {row: (-2.0, -40.0) if row % 2 else (-40.0, -2.0) for row in problem.rows}
    drawn = redraw_groups(problem, {}, scores, problem.random("test"))
    assert problem.constraints.conflicts(drawn.labels) == []
    assert drawn.labels == {row: 0 if row % 2 else 1 for row in problem.rows}
    assert drawn.unproven_groups == 0


def comparisons(things: int) -> tuple[Problem, dict[Row, Label]]:
    """Everything compared with everything, in one group, and the labels of the order by number."""
    pairs = list(itertools.permutations(range(things), 2))
    row_of = {pair: Row(number) for number, pair in enumerate(pairs)}
    order = Constraint(Rule.TRANSITIVE, tuple((row,) for row in row_of.values()), Label(0), tuple(pairs))
    twins = [
        Constraint(Rule.EXACTLY_ONE, ((row_of[a, b],), (row_of[b, a],)), Label(0))
        for a, b in itertools.combinations(range(things), 2)
    ]
    problem = Problem(
        texts={row: str(row) for row in row_of.values()}, labels=("T", "F"), constraint_list=[order, *twins]
    )
    return problem, {row: Label(0 if a > b else 1) for (a, b), row in row_of.items()}


@pytest.mark.parametrize("is_random", [False, True])
def test_comparisons_of_forty_five_things_are_drawn_as_one_group(*, is_random: bool) -> None:
    problem, truth = comparisons(45)
    rng = Random(1)
    signal = {row: rng.gauss(2.0, 2.0) for row in problem.rows}  # one row in six speaks for the wrong label
    scores = {row: (0.0, signal[row]) if truth[row] else (signal[row], 0.0) for row in problem.rows}
    drawn = redraw_groups(problem, {}, scores, problem.random("test") if is_random else None)
    assert len(problem.groups) == 1
    assert problem.constraints.conflicts(drawn.labels) == []
    right = sum(drawn.labels[row] == label for row, label in truth.items())
    assert right >= 0.9 * len(truth)


def test_scores_without_any_order_are_drawn_without_conflict_and_reported_as_unproven() -> None:
    problem, _ = comparisons(24)
    rng = Random(1)
    scores = {row: (rng.gauss(0, 1), rng.gauss(0, 1)) for row in problem.rows}
    drawn = redraw_groups(problem, {}, scores)
    assert problem.constraints.conflicts(drawn.labels) == []
    assert drawn.unproven_groups == 1


@pytest.mark.parametrize("size", [3, 30 if LONG else 15])
def test_rows_whose_relations_contradict_each_other_keep_as_few_conflicts_as_can_be(size: int) -> None:
    everything = tuple((Row(row),) for row in range(size))
    rules = [Constraint(Rule.SAME_LABEL, everything, Label(0)), Constraint(Rule.EXACTLY_ONE, everything, Label(0))]
    problem = Problem(texts={row: str(row) for (row,) in everything}, labels=("T", "F"), constraint_list=rules)
    scores = dict.fromkeys(problem.rows, (-0.5, -1.0))
    labels = redraw(problem, {}, scores)
    assert set(labels.values()) == {1}  # the one conflict: none has the first label
    assert len(problem.constraints.conflicts(labels)) == 1


@pytest.mark.parametrize(
    ("rule", "classes", "tolerance"),
    [
        (Rule.SAME_LABEL, 2, 0.06),  # one free choice: exact but for the sample's own error
        (Rule.AT_MOST_ONE, 2, 0.2),  # noise per row, not per labelling, is a little too hot
        pytest.param(Rule.EXACTLY_ONE, 2, 0.2, marks=pytest.mark.long),
        (Rule.DIFFERENT_LABEL, 3, 0.25),
    ],
)
def test_draws_by_perturbation_come_near_their_weights(
    rule: Rule, classes: int, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.search.moves.redraw.EXACT_LABELLINGS", 0)
    rows = tuple((Row(row),) for row in range(3))
    constraint = Constraint(rule, rows, Label(0))
    problem = Problem(texts={row: "" for (row,) in rows}, labels="abc"[:classes], constraint_list=[constraint])
    rng = Random(3)
    scores = {row: tuple(rng.uniform(-2, 0) for _ in range(classes)) for row in problem.rows}
    options = list(problem.constraints.consistent(problem.rows, {}, classes))
    weights = [math.exp(sum(scores[row][label] for row, label in option.items())) for option in options]
    draws = [redraw(problem, {}, scores, rng) for _ in range(1_000 if LONG else 500)]
    shares = [draws.count(option) / len(draws) for option in options]
    distance = sum(abs(s - w / sum(weights)) for s, w in zip(shares, weights, strict=True)) / 2
    assert distance < tolerance


def test_another_process_draws_the_same_labels() -> None:
    code = "from tests.unit.search.test_repair_and_redraw import some_draw; print(some_draw())"
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # another than in this process
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    assert run.stdout == f"{some_draw()}\n"


def some_draw() -> dict[Row, Label]:
    problem, _ = comparisons(12)
    scores = {row: ((row * 37 % 11) / 10, (row * 53 % 13) / 10) for row in problem.rows}
    return redraw(problem, {}, scores, problem.random("test"))


def test_twenty_labels_give_the_few_options_that_promise_most() -> None:
    rule = Constraint(Rule.DIFFERENT_LABEL, ((Row(0),), (Row(1),)), Label(0))
    names = [f"label {number}" for number in range(20)]
    problem = Problem(texts={Row(0): "a", Row(1): "b"}, labels=names, constraint_list=[rule])
    scores = {row: tuple(-float(label) for label in range(20)) for row in problem.rows}
    conflict = (Row(0), Row(1))
    options = consistent_options(problem, {Row(0): Label(9), Row(1): Label(9)}, conflict)
    assert len(options) == 380
    promising = most_promising(problem, options, conflict, scores)
    assert sorted(option[Row(0)] + option[Row(1)] for option in promising) == [1, 1, 2, 2, 3, 3, 3, 3]


def test_a_missing_label_among_many_rows_is_repaired_by_relabelling_one_or_two() -> None:
    rows = [Row(row) for row in range(40)]
    rule = Constraint(Rule.EXACTLY_ONE, tuple((row,) for row in rows), Label(0))
    problem = Problem(texts={row: str(row) for row in rows}, labels=("T", "F"), constraint_list=[rule])
    labels = dict.fromkeys(rows, Label(1))
    [conflict] = problem.constraints.conflicts(labels)
    scores = {row: (-5.0, -0.01) if row != 17 else (-0.1, -2.0) for row in rows}
    options = consistent_options(problem, labels, conflict)
    assert {**labels, Row(17): Label(0)} in most_promising(problem, options, conflict, scores)


def test_all_rows_of_a_circle_are_relabelled_together() -> None:
    problem, truth = comparisons(3)
    circle = {row: Label(0 if number in (0, 3, 4) else 1) for number, row in enumerate(problem.rows)}
    [conflict] = problem.constraints.conflicts(circle)
    assert conflict == problem.rows
    scores = {row: (-0.1, -3.0) if truth[row] == 0 else (-3.0, -0.1) for row in problem.rows}
    options = consistent_options(problem, circle, conflict)
    assert truth in most_promising(problem, options, conflict, scores)
