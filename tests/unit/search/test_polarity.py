import itertools
from dataclasses import replace

import pytest

from service.identifiers import Label, Row
from service.search.measures import polarity
from service.search.state.problem import Problem
from tests.toy import ToyWorld, resolve


def problem_of(classes: int, rows: int = 6) -> Problem:
    return Problem(texts={Row(row): str(row) for row in range(rows)}, labels=[f"l{n}" for n in range(classes)])


def test_of_two_labels_the_complement_is_the_only_permutation() -> None:
    labels = {Row(0): Label(0), Row(1): Label(1), Row(2): Label(1)}
    assert polarity.permutations(problem_of(2), labels, {}) == [{0: 1, 1: 0, 2: 0}]


def test_of_three_labels_all_other_orders_are_tried() -> None:
    labels = {Row(row): Label(row) for row in range(3)}
    found = polarity.permutations(problem_of(3), labels, {})
    orders = [tuple(permuted[Row(row)] for row in range(3)) for permuted in found]
    assert sorted(orders) == [order for order in itertools.permutations(range(3)) if order != (0, 1, 2)]


def test_of_twenty_labels_the_likeliest_exchanges_are_tried_first() -> None:
    problem = problem_of(20, rows=40)
    labels = {row: Label(row % 20) for row in problem.rows}
    runner_up = {3: 7, 7: 3, 11: 12, 12: 11}  # labels that these rows would have nearly as readily
    nats = {3: -1.0, 7: -1.0, 11: -2.0, 12: -2.0}
    scores = {
        row: tuple(-0.1 if n == label else nats[label] if runner_up.get(label) == n else -9.0 for n in range(20))
        for row, label in labels.items()
    }
    found = polarity.permutations(problem, labels, scores)
    assert len(found) == polarity.MOST_PERMUTATIONS
    exchanged = [{labels[row] for row in labels if permuted[row] != labels[row]} for permuted in found]
    assert exchanged[:2] == [{3, 7}, {11, 12}]
    assert all(len(pair) == 2 for pair in exchanged)


def test_the_joint_log_probability_of_a_single_row_is_that_of_its_label_alone() -> None:
    world = ToyWorld(1, 2, False, 0)
    labellings = [{Row(0): Label(0)}, {Row(0): Label(1)}]
    found = resolve(world, polarity.joint_log_probabilities(world.problem(), labellings, world.problem().random()))
    assert found == pytest.approx(world.log_probabilities(Row(0), {}))


def test_the_joint_log_probability_of_two_rows_follows_the_chain_rule() -> None:
    world = ToyWorld(2, 2, False, 1)
    labels = {Row(0): Label(0), Row(1): Label(1)}
    problem = world.problem()
    found = resolve(world, polarity.joint_log_probabilities(problem, [labels], problem.random("chain")))
    orders = [
        world.log_probabilities(first, {})[labels[first]]
        + world.log_probabilities(then, {first: labels[first]})[labels[then]]
        for first, then in ((Row(0), Row(1)), (Row(1), Row(0)))
    ]
    assert min(orders) <= found[0] <= max(orders)


def test_the_likelier_labelling_is_distinguished_from_its_mirror_image() -> None:
    world = ToyWorld(60, 2, False, 2, home=1.0)
    mirrored = {row: Label(1 - label) for row, label in world.planted.items()}
    problem = world.problem()
    own, other = resolve(world, polarity.joint_log_probabilities(problem, [world.planted, mirrored], problem.random()))
    assert own - other > polarity.DECISIVE_NATS


def test_sequences_are_no_longer_than_a_prompt_may_be() -> None:
    world = ToyWorld(40, 2, False, 2)
    problem = replace(world.problem(), max_demonstrations=3)
    request = next(polarity.joint_log_probabilities(problem, [world.planted], problem.random()))
    assert max(prompt.count("\n") for tree in request for _, prompt in tree.prompts()) <= 3
