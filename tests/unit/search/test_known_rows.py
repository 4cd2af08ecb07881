"""Labels that the user is sure of stay unchanged, whatever the language model prefers."""

import itertools
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.moves.proposal import propose_row
from service.search.moves.redraw import redraw, redraw_groups
from service.search.moves.repair import consistent_options
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Problem
from service.search.state.steps import Phase, Strategy
from service.search.strategies.authors import Authors, two_options
from service.search.strategies.baselines import Bootstrap, FewShotRandom, ZeroShot
from service.search.strategies.folds import Folds
from service.search.strategies.gain_search import GainSearch
from service.search.strategies.paper import Paper
from tests.long import LONG, examples
from tests.toy import ToyWorld, drive, prompts

METHODS = [
    GainSearch(),
    Folds(),
    Paper(),
    Authors(),
    ZeroShot(),
    FewShotRandom(),
    Bootstrap(consistent=True),
    Bootstrap(consistent=False),
]
NAMES = ["gain", "folds", "paper", "authors", "zero shot", "few shot", "bootstrap by the rules", "bootstrap"]
EVERY_METHOD = pytest.mark.parametrize("method", METHODS, ids=NAMES)


def knowing(problem: Problem, known: dict[Row, Label]) -> Problem:
    return replace(problem, known=known)


def against_the_model(world: ToyWorld, count: int) -> dict[Row, Label]:
    """Labels of the first rows that break no rule of the world, and that its language model would not choose."""
    shifted = {row: Label((label + 1) % world.classes) for row, label in world.planted.items()}
    return {row: shifted[row] for row in list(shifted)[:count]}


@settings(max_examples=examples(100), deadline=None)
@given(st.data(), st.integers(0, 10_000), st.booleans())
def test_no_redraw_changes_a_known_label_whatever_the_labels_and_scores(
    data: st.DataObject, seed: int, is_random: bool
) -> None:
    world = ToyWorld(8, 2, True, seed)
    rows, rng = st.sets(st.sampled_from(sorted(world.planted))), Random(seed)
    known = {row: world.planted[row] for row in data.draw(rows)}
    problem = knowing(world.problem(seed), known)
    labels = {row: Label(rng.randrange(2)) for row in data.draw(rows)}
    scores = {row: (rng.uniform(-5, 0), rng.uniform(-5, 0)) for row in data.draw(rows)}
    drawn = redraw(problem, labels, scores, rng if is_random else None)
    assert drawn.keys() == labels.keys() | scores.keys()
    assert all(drawn[row] == label for row, label in known.items() if row in drawn)
    redrawn = {row: drawn[row] for row in scores}
    assert problem.constraints.conflicts_of(sorted(scores.keys() - known.keys()), {**known, **redrawn}) == []


def test_a_known_label_binds_its_related_rows_before_it_was_asked_for() -> None:
    one = Constraint(Rule.EXACTLY_ONE, ((Row(0),), (Row(1),)), Label(0))
    problem = Problem(
        texts={Row(0): "a", Row(1): "b"}, labels=("T", "F"), constraint_list=[one], known={Row(0): Label(0)}
    )
    drawn = redraw(problem, {}, {Row(1): (-0.1, -9.0)})
    assert drawn == {Row(1): 1}


def test_a_known_label_in_a_group_too_large_to_list_decides_what_follows_from_it() -> None:
    rows = [Row(row) for row in range(30)]
    pairs = [Constraint(Rule.SAME_LABEL, ((a,), (b,)), Label(0)) for a, b in itertools.pairwise(rows)]
    free = [Row(row) for row in range(30, 60)]
    choice = Constraint(Rule.AT_MOST_ONE, tuple((row,) for row in (rows[-1], *free)), Label(0))
    texts = {row: str(row) for row in (*rows, *free)}
    problem = Problem(texts=texts, labels=("T", "F"), constraint_list=[*pairs, choice], known={Row(7): Label(0)})
    scores = dict.fromkeys(problem.rows, (-9.0, -0.1))
    drawn = redraw_groups(problem, {}, scores)
    assert drawn.labels == {**dict.fromkeys(rows, 0), **dict.fromkeys(free, 1)}
    assert drawn.unproven_groups == 0


def test_groups_with_known_rows_come_first_in_prompts_and_the_known_rows_before_their_mates() -> None:
    problem = ToyWorld(10, 2, True, 0).problem(5)
    known = {Row(3): Label(0), Row(8): Label(1)}
    order = knowing(problem, known).order
    assert {frozenset(order[:2]), frozenset(order[2:4])} == {frozenset({2, 3}), frozenset({8, 9})}
    assert {order[0], order[2]} == set(known)
    assert order[4:] == tuple(row for row in problem.order if row not in (2, 3, 8, 9))


@pytest.mark.parametrize("seed", range(5))
def test_without_known_rows_the_order_of_prompts_follows_from_the_seed_alone(seed: int) -> None:
    problem = ToyWorld(9, 2, True, 0).problem(seed)
    shuffled = Random(f"{seed}:prompt order").sample(problem.groups, len(problem.groups))
    assert problem.order == tuple(row for group in shuffled for row in group)


@EVERY_METHOD
@pytest.mark.parametrize("related", [True, False])
def test_every_method_keeps_known_labels_from_the_first_step_to_the_last(method: Strategy, *, related: bool) -> None:
    for seed in range(5 if LONG else 2):
        world = ToyWorld(12, 2, related, seed)
        known = against_the_model(world, 4)
        for state in drive(world, knowing(world.problem(seed), known), method):
            for labels in (state.labels, {} if state.best is None else state.best.labels):
                assert all(labels[row] == label for row, label in known.items() if row in labels)
        assert known.items() <= state.labels.items()
        assert known.keys() <= state.scores.keys()  # so that a confidence can be told


@EVERY_METHOD
def test_a_shard_of_known_rows_alone_ends_with_their_labels(method: Strategy) -> None:
    world = ToyWorld(6, 2, True, 1)
    known = against_the_model(world, 6)
    end = drive(world, knowing(world.problem(), known), method)[-1]
    assert end.phase is Phase.DONE
    assert end.labels == known


@EVERY_METHOD
def test_behind_an_anchor_known_rows_keep_their_labels_too(method: Strategy) -> None:
    world = ToyWorld(12, 2, False, 2)
    anchor = "".join(f"row {row} {world.problem().labels[world.planted[row]]}\n" for row in list(world.planted)[:6])
    later = {row: text for row, text in world.problem().texts.items() if row >= 6}
    known = {Row(row): Label((world.planted[Row(row)] + 1) % 2) for row in (7, 9)}
    problem = replace(world.problem(), texts=later, prefix=anchor, known=known)
    assert known.items() <= drive(world, problem, method)[-1].labels.items()


@pytest.mark.parametrize("strategy", [Paper(), Authors()], ids=["paper", "authors"])
@pytest.mark.parametrize(("known", "seeds"), [(3, 8), (8, 8), (10, 10)])
def test_known_rows_count_among_the_first_examples(strategy: Strategy, known: int, seeds: int) -> None:
    world = ToyWorld(20, 2, False, 0)
    labels = against_the_model(world, known)
    started = drive(world, knowing(world.problem(), labels), strategy)[1].labels
    assert len(started) == seeds
    assert labels.items() <= started.items()


def test_known_rows_are_never_proposed() -> None:
    problem = knowing(ToyWorld(6, 2, True, 0).problem(), {Row(1): Label(0), Row(4): Label(1)})
    rng = Random(0)
    assert {propose_row(problem, {}, rng) for _ in range(300)} == {0, 2, 3, 5}


@pytest.mark.parametrize(("known", "options"), [([0], [(0, 1)]), ([1], [(1, 0)]), ([0, 1], []), ([], [(0, 1), (1, 0)])])
def test_a_conflict_is_repaired_by_its_other_rows(known: list[int], options: list[tuple[int, int]]) -> None:
    rule = Constraint(Rule.EXACTLY_ONE, ((Row(0),), (Row(1),)), Label(0))
    labels = {Row(0): Label(0), Row(1): Label(0)}
    problem = Problem(
        texts={Row(0): "a", Row(1): "b"},
        labels=("T", "F"),
        constraint_list=[rule],
        known={Row(row): Label(0) for row in known},
    )
    conflict = (Row(0), Row(1))
    assert [tuple(option.values()) for option in consistent_options(problem, labels, conflict)] == options
    assert [tuple(option.values()) for option in two_options(problem, labels, conflict)] == options


def test_the_labels_shown_with_random_ones_are_the_known_ones_where_there_are_any() -> None:
    world = ToyWorld(20, 2, False, 0)
    known = against_the_model(world, 3)
    lines = {f"row {row} {world.problem().labels[label]}" for row, label in known.items()}
    asked = prompts(world, knowing(world.problem(), known), FewShotRandom())
    assert sorted(row for row, _ in asked) == list(range(20))
    shown = {row: prompt.split("\n")[:-1] for row, prompt in asked}
    assert {len(demonstrations) for demonstrations in shown.values()} == {7, 8}
    assert all(len(lines.intersection(shown[row])) == 3 - (row in known) for row in shown)
