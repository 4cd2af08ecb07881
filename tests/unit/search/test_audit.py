from collections import Counter
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.measures.audit import BASELINE_ROWS, SAMPLE_ROWS, audit, random_few_shot, whole_groups
from service.search.prompting.evaluation import leave_one_out
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Problem
from service.search.state.steps import Phase, State
from service.search.strategies.folds import Folds
from tests.long import examples
from tests.toy import ToyWorld, drive, resolve


def mirrored(world: ToyWorld) -> dict[Row, Label]:
    return {row: Label(1 - label) for row, label in world.planted.items()}


@pytest.mark.parametrize("rows", [9, 40, 200])
def test_planted_labels_are_far_more_predictable_than_the_same_labels_dealt_out(rows: int) -> None:
    world = ToyWorld(rows, 2, False, 3)
    facts = resolve(world, audit(world.problem(), world.planted, {}, world.problem().random("audit"))).facts()
    assert facts["sample_rows"] == min(rows, SAMPLE_ROWS)
    assert isinstance(own := facts["predictability"], float)
    assert isinstance(shuffled := facts["shuffled_predictability"], float)
    assert own > shuffled + 0.5
    assert facts["sample_utility"] == pytest.approx(50 * own)
    assert facts["shuffled_utility"] == pytest.approx(50 * shuffled)
    assert facts == orjson.loads(orjson.dumps(facts))


def test_the_baselines_are_measured_on_the_same_rows() -> None:
    world = ToyWorld(200, 2, False, 3, home=2.0)
    baselines = resolve(world, audit(world.problem(), world.planted, {}, world.problem().random("audit"))).baselines
    assert set(baselines) == {"zero_shot", "few_shot_random"}
    for found in baselines.values():
        assert len(dict(found)) == BASELINE_ROWS
    assert dict(baselines["zero_shot"]).items() <= world.planted.items()


def test_conflicts_count_in_the_utilities_and_not_in_the_predictabilities() -> None:
    world = ToyWorld(30, 2, True, 3)
    problem = world.problem()
    agreeing = dict.fromkeys(problem.rows, Label(0))
    found = resolve(world, audit(problem, agreeing, {}, problem.random("audit")))
    assert found.own.utility == pytest.approx(50 * float(str(found.facts()["predictability"])) - 15)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=40), st.integers(0, 9))
def test_shuffled_labels_keep_rows_and_shares(choice: list[int], seed: int) -> None:
    world = ToyWorld(len(choice), 3, False, 0)
    labels = {Row(row): Label(label) for row, label in enumerate(choice)}
    found = resolve(world, audit(world.problem(seed), labels, {}, world.problem(seed).random("audit")))
    assert found.own.labels == labels
    assert found.shuffled.labels.keys() == labels.keys()
    assert Counter(found.shuffled.labels.values()) == Counter(labels.values())


@pytest.mark.parametrize("rows", [10, 60])
def test_a_mirrored_labelling_is_turned_right_once(rows: int) -> None:
    world = ToyWorld(rows, 2, False, 5, home=1.0)
    [scored] = resolve(world, leave_one_out(world.problem(), mirrored(world)))
    wrong = State(phase=Phase.AUDIT, labels=scored.labels, scores=scored.scores, best=scored)
    _, turned, *_, end = drive(world, world.problem(), Folds(), wrong)
    assert turned.phase is Phase.SWEEP
    assert turned.labels == world.planted == end.labels
    again = drive(world, world.problem(), Folds(), replace(wrong, turned=True))[-1]
    assert again.labels == mirrored(world)


def test_planted_labels_stay_as_they_are() -> None:
    world = ToyWorld(60, 2, False, 5, home=1.0)
    [scored] = resolve(world, leave_one_out(world.problem(), world.planted))
    right = State(phase=Phase.AUDIT, labels=scored.labels, scores=scored.scores, best=scored)
    end = drive(world, world.problem(), Folds(), right)[-1]
    assert end.phase is Phase.DONE
    assert end.labels == world.planted
    assert float(str(end.facts["polarity_nats"])) > 1.0
    assert float(str(end.facts["permuted_utility"])) < float(str(end.facts["sample_utility"]))


def grouped(sizes: list[int]) -> Problem:
    numbers = iter(range(sum(sizes)))
    groups = [[Row(next(numbers)) for _ in range(size)] for size in sizes]
    rules = [Constraint(Rule.SAME_LABEL, tuple((row,) for row in group), Label(0)) for group in groups]
    texts = {row: str(row) for group in groups for row in group}
    return Problem(texts=texts, labels=("A", "B"), constraint_list=rules)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=30), st.integers(8, 40))
def test_a_sample_has_whole_groups(sizes: list[int], count: int) -> None:
    problem = grouped(sizes)
    rows = set(whole_groups(problem, dict.fromkeys(problem.rows, Label(0)), count))
    assert min(count, len(problem.rows)) <= len(rows) < count + 8
    assert all(rows.issuperset(group) or rows.isdisjoint(group) for group in problem.groups)


def test_of_one_huge_group_a_part_is_enough() -> None:
    problem = grouped([500, 1, 1])
    assert len(whole_groups(problem, dict.fromkeys(problem.rows, Label(0)), 64)) < 128


@pytest.mark.parametrize("most", [1, 3, 8, None])
def test_behind_random_labels_no_row_sees_its_own(most: int | None) -> None:
    world = ToyWorld(30, 2, False, 0)
    problem = replace(world.problem(), max_demonstrations=most)
    prompts = dict(random_few_shot(problem, problem.rows, problem.random("few")).prompts())
    assert set(prompts) == set(problem.rows)
    for row, prompt in prompts.items():
        shown = [int(line.split()[1]) for line in prompt.split("\n")[:-1]]
        assert row not in shown
        assert len(set(shown)) == len(shown) <= (most or 8)
