import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.moves.cardinality import BoundedRedraw, counts_within, redraw_within
from service.search.moves.redraw import redraw
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Constraint, Rule
from service.search.rules.optimum import Counts, missed
from service.search.state.problem import Problem
from tests.long import LONG, examples
from tests.unit.search.rules import conflicts, constraint_sets, labellings, rows

Labelling = dict[Row, Label]


def problem_of(count: int, classes: int, rules: list[Constraint], known: Labelling) -> Problem:
    texts = {row: str(row) for row in rows(*range(count))}
    return Problem(texts=texts, labels=[f"l{n}" for n in range(classes)], constraint_list=rules, known=known)


def drawn_scores(data: st.DataObject, count: int, classes: int) -> Scores:
    return {row: data.draw(st.tuples(*[st.floats(-5, 0, width=16)] * classes)) for row in rows(*range(count))}


def drawn_bounds(data: st.DataObject, count: int, classes: int) -> Counts:
    named = data.draw(st.sets(st.integers(0, classes - 1)))
    ends = st.tuples(st.integers(0, count), st.integers(0, count))
    return {Label(label): tuple(sorted(data.draw(ends))) for label in sorted(named)}  # type: ignore[misc]  # two of them


def rank(constraints: list[Constraint], bounds: Counts, scores: Scores, labels: Labelling) -> tuple[int, int, float]:
    """Conflicts, then rows by which the counts lie outside the bounds, then scores: the lower, the better."""
    broken = len(conflicts(constraints, labels))
    return broken, missed(bounds, labels.values()), -sum(scores[row][label] for row, label in labels.items())


@settings(max_examples=examples(200), deadline=None)
@given(constraint_sets(), st.integers(2, 3), st.data())
def test_no_labelling_keeps_the_rules_is_nearer_to_the_bounds_and_likelier(
    drawn: tuple[int, list[Constraint]], classes: int, data: st.DataObject
) -> None:
    count, constraints = drawn
    scores, bounds = drawn_scores(data, count, classes), drawn_bounds(data, count, classes)
    known = {
        row: Label(data.draw(st.integers(0, classes - 1))) for row in data.draw(st.sets(st.sampled_from(range(count))))
    }
    problem = problem_of(count, classes, constraints, {Row(row): label for row, label in known.items()})
    found = redraw_within(problem, scores, bounds)
    best = min(rank(constraints, bounds, scores, {**labels, **problem.known}) for labels in labellings(count, classes))
    broken, outside, total = rank(constraints, bounds, scores, found.labels)
    assert found.labels.items() >= problem.known.items()
    assert found.labels.keys() == set(problem.rows)
    assert broken == best[0]
    if not broken:
        assert outside == best[1]
        assert total == pytest.approx(best[2], abs=1e-5)
        assert found.proven
    assert found.missed == outside


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(1, 6), st.integers(2, 4), st.data())
def test_without_rules_the_likeliest_labelling_within_the_bounds_is_found(
    count: int, classes: int, data: st.DataObject
) -> None:
    scores, bounds = drawn_scores(data, count, classes), drawn_bounds(data, count, classes)
    fixed = {row: Label(0) for row in rows(*range(count, count + data.draw(st.integers(0, 2))))}
    problem = problem_of(count + len(fixed), classes, [], {})
    found = redraw_within(problem, scores, bounds, labels=fixed)
    best = min(
        (missed(bounds, [*labels.values(), *fixed.values()]), -sum(scores[r][label] for r, label in labels.items()))
        for labels in labellings(count, classes)
    )
    assert found.labels.keys() == set(problem.rows)
    assert found.labels.items() >= fixed.items()
    assert found.proven
    assert found.missed == best[0]
    assert -sum(scores[row][found.labels[row]] for row in scores) == pytest.approx(best[1], abs=1e-5)


def paired(count: int, seed: int) -> tuple[Problem, Scores]:
    """This many rows, at most one of each four with the first label, and noisy scores that favour that label."""
    rng = Random(seed)
    groups = [rows(*range(start, start + 4)) for start in range(0, count, 4)]
    rules = [Constraint(Rule.AT_MOST_ONE, tuple((row,) for row in group), Label(0)) for group in groups]
    problem = problem_of(count, 2, rules, {})
    return problem, {row: (rng.gauss(0, 2), rng.gauss(0, 2)) for row in problem.rows}


@pytest.mark.parametrize(
    ("count", "bounds"), [(200, (10, 12)), (200, (50, 50)), (1_000, (60, 70)), (1_000, (250, 250))]
)
def test_hundreds_of_related_rows_are_within_the_bounds_and_proven_best(count: int, bounds: tuple[int, int]) -> None:
    problem, scores = paired(count, 1)
    found = redraw_within(problem, scores, {Label(0): bounds})
    assert problem.constraints.conflicts(found.labels) == []
    assert (found.missed, found.proven) == (0, True)
    assert -total(scores, found) == pytest.approx(best_by_gains(problem, scores, bounds))


def total(scores: Scores, found: BoundedRedraw) -> float:
    return sum(scores[row][label] for row, label in found.labels.items())


def best_by_gains(problem: Problem, scores: Scores, bounds: tuple[int, int]) -> float:
    """Each group gains by its best row with the first label: the greatest gains are chosen, within the bounds."""
    gains = sorted((max(scores[row][0] - scores[row][1] for row in group) for group in problem.groups), reverse=True)
    taken = [gain for n, gain in enumerate(gains[: bounds[1]]) if n < bounds[0] or gain > 0]
    return -sum(scores[row][1] for row in problem.rows) - sum(taken)


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_several_sizes_that_must_agree_fill_the_bounds_to_the_row(seed: int) -> None:
    rng = Random(seed)
    ends = [0, *itertools.accumulate(rng.randint(2, 5) for _ in range(80))]
    groups = [rows(*range(start, end)) for start, end in itertools.pairwise(ends)]
    rules = [Constraint(Rule.SAME_LABEL, tuple((row,) for row in group), Label(0)) for group in groups]
    problem = problem_of(ends[-1], 3, rules, {})
    scores = {row: tuple(rng.gauss(0, 2) for _ in range(3)) for row in problem.rows}
    bounds = {Label(0): (50, 50), Label(2): (71, 72)}
    found = redraw_within(problem, scores, bounds)
    assert problem.constraints.conflicts(found.labels) == []
    assert (found.missed, found.proven) == (0, True)


def test_thousands_of_rows_without_rules_are_bounded_in_all_of_six_labels() -> None:
    rng, count = Random(0), 10_000 if LONG else 2_000
    problem = problem_of(count, 6, [], {})
    scores = {row: tuple(rng.gauss(0, 1) for _ in range(6)) for row in problem.rows}
    counts = [count * percent // 100 for percent in (50, 20, 15, 10, 4, 1)]
    bounds = {Label(label): (most, most) for label, most in enumerate(counts)}
    found = redraw_within(problem, scores, bounds)
    assert (found.missed, found.proven) == (0, True)
    exchanges = itertools.islice(itertools.combinations(rng.sample(problem.rows, 300), 2), 40_000)
    for one, other in exchanges:  # no two rows would do better with each other's labels
        a, b = found.labels[one], found.labels[other]
        assert scores[one][a] + scores[other][b] >= scores[one][b] + scores[other][a] - 1e-9


def test_labels_within_the_bounds_by_themselves_are_those_of_a_redraw() -> None:
    problem, scores = paired(80, 2)
    plain = redraw(problem, {}, scores)
    assert redraw_within(problem, scores, {Label(0): (0, 80)}) == BoundedRedraw(plain, proven=True, missed=0)
    assert redraw_within(problem, scores, {}) == BoundedRedraw(plain, proven=True, missed=0)


def test_bounds_that_rules_leave_no_room_for_are_met_as_nearly_as_can_be() -> None:
    problem, scores = paired(40, 3)
    found = redraw_within(problem, scores, {Label(0): (15, 20)})
    assert problem.constraints.conflicts(found.labels) == []
    assert list(found.labels.values()).count(Label(0)) == 10
    assert found.missed == 5
    assert found.proven


def test_known_rows_are_counted_and_stay_even_where_they_are_too_many() -> None:
    known = dict.fromkeys(rows(0, 1, 2), Label(0))
    problem = problem_of(6, 2, [], known)
    scores = dict.fromkeys(problem.rows, (-0.1, -3.0))
    assert redraw_within(problem, scores, {Label(0): (4, 4)}).labels.items() >= known.items()
    found = redraw_within(problem, scores, {Label(0): (0, 2)})
    assert found.labels == {**known, **dict.fromkeys(rows(3, 4, 5), 1)}
    assert found.missed == 1


def test_a_group_whose_rules_contradict_each_other_does_not_keep_the_others_from_their_bounds() -> None:
    pair = rows(0, 1)
    rules = [Constraint(rule, tuple((row,) for row in pair), Label(0)) for rule in (Rule.SAME_LABEL, Rule.EXACTLY_ONE)]
    problem = problem_of(10, 2, rules, {})
    found = redraw_within(problem, dict.fromkeys(problem.rows, (-0.1, -3.0)), {Label(0): (4, 5)})
    assert len(problem.constraints.conflicts(found.labels)) == 1
    assert found.missed == 0


@pytest.mark.parametrize(
    ("share", "count", "bounds"),
    [
        ((0.4, 0.4), 7, (2, 3)),
        ((0.7, 0.7), 10, (7, 7)),
        ((0.3, 0.7), 10, (3, 7)),
        ((0.0, 1.0), 3, (0, 3)),
        ((0.1, 0.2), 1, (0, 1)),
    ],
)
def test_shares_are_rounded_outwards_to_counts(share: tuple[float, float], count: int, bounds: tuple[int, int]) -> None:
    assert counts_within({Label(1): share}, count) == {1: bounds}
