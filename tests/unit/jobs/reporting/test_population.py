"""Estimates of labels' frequencies, from probabilities that are right by construction."""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest

from service.identifiers import Label, Row
from service.jobs.reporting.population import PopulationShare, found_shares, population_shares
from service.jobs.reporting.proportions import wilson
from service.jobs.reporting.tally import label_shares
from service.jobs.running.expected_counts import expected_counts
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Problem
from tests.long import LONG

TRIALS = 200 if LONG else 100


def counts(
    groups: Sequence[Sequence[Sequence[float]]], known: Mapping[int, int] | None = None, start: int = 0
) -> Mapping[str, Any]:
    """A shard's report on groups of rows, each row given by the probabilities of its labels."""
    rows = [Row(start + number) for number in range(sum(len(group) for group in groups))]
    told = [probabilities for group in groups for probabilities in group]
    rest, ties = iter(rows), list[Constraint]()
    for group in groups:
        clusters = tuple((next(rest),) for _ in group)
        ties += [Constraint(Rule.SAME_LABEL, clusters, Label(0))] if len(group) > 1 else []
    problem = Problem(
        texts={row: f"row {row}" for row in rows},
        labels=[f"label {number}" for number in range(len(told[0]))],
        constraint_list=ties,
        known={Row(row): Label(label) for row, label in (known or {}).items()},
    )
    return expected_counts(problem, {row: tuple(map(math.log, p)) for row, p in zip(rows, told, strict=True)})


def of_singles(probabilities: Sequence[float]) -> PopulationShare:
    found = population_shares([counts([[(p, 1 - p)] for p in probabilities])], 2)[0]
    assert found is not None
    return found


def is_within(share: float, found: PopulationShare) -> bool:
    return found.lower <= share <= found.upper


@pytest.mark.parametrize(("rows", "a", "b"), [(40, 0.3, 0.3), (100, 2.0, 6.0), (100, 0.1, 0.9), (150, 0.05, 1.0)])
def test_calibrated_probabilities_cover_the_share_of_the_population_and_of_the_rows(
    rows: int, a: float, b: float
) -> None:
    rng = Random(rows)
    of_population = of_rows = 0
    for _ in range(TRIALS):
        told = [min(max(rng.betavariate(a, b), 1e-12), 1 - 1e-12) for _ in range(rows)]
        found = of_singles(told)
        of_population += is_within(a / (a + b), found)
        of_rows += is_within(sum(rng.random() < p for p in told) / rows, found)
    assert of_population >= 0.93 * TRIALS
    assert of_rows >= 0.93 * TRIALS


def test_the_interval_is_no_wider_than_certain_labels_need() -> None:
    rng, covered = Random(5), 0
    for _ in range(TRIALS):
        covered += is_within(0.3, of_singles([1 - 1e-12 if rng.random() < 0.3 else 1e-12 for _ in range(100)]))
    assert 0.91 * TRIALS <= covered <= 0.985 * TRIALS


def test_related_rows_count_as_one_draw_of_the_population() -> None:
    rng, covered = Random(6), 0
    for _ in range(TRIALS):
        drawn = [rng.betavariate(0.4, 0.6) * 0.98 + 0.01 for _ in range(40)]
        found = population_shares([counts([[(p, 1 - p)] * 5 for p in drawn])], 2)[0]
        assert found is not None
        covered += is_within(0.4 * 0.98 + 0.01, found)
    assert covered >= 0.92 * TRIALS


def test_independent_rows_have_wilson_s_interval_of_their_expected_number() -> None:
    found = of_singles([0.9, 0.9, 0.2, 0.4] * 25)
    assert found.rows == 100
    assert (found.expected_rows, found.share) == pytest.approx((60, 0.6))
    assert (found.lower, found.upper) == pytest.approx(wilson(0.6, 100), abs=2e-3)


def test_the_sums_of_several_shards_equal_those_of_one() -> None:
    groups = [[(0.1 * number, 1 - 0.1 * number)] for number in range(1, 10)]
    whole = population_shares([counts(groups)], 2)
    parts = population_shares([counts(groups[:4]), counts(groups[4:], start=4)], 2)
    for one, other in zip(whole, parts, strict=True):
        assert one is not None
        assert other is not None
        assert (one.share, one.lower, one.upper) == pytest.approx((other.share, other.lower, other.upper))


def test_every_label_gets_its_part_of_a_row_that_may_have_several() -> None:
    found = population_shares([counts([[(0.6, 0.3, 0.1)], [(0.2, 0.2, 0.6)]])], 3)
    assert [share.expected_rows for share in found if share is not None] == pytest.approx([0.8, 0.5, 0.7])


def test_a_known_row_has_its_label_with_certainty() -> None:
    found = population_shares([counts([[(0.1, 0.9)], [(0.5, 0.5)]], known={0: 0})], 2)
    assert [share.expected_rows for share in found if share is not None] == pytest.approx([1.5, 0.5])


def test_a_label_that_no_row_may_have_is_still_possible() -> None:
    groups: list[list[tuple[float, ...]]] = [[(0.5, 0.5)]] * 20
    [first, other] = population_shares([counts(groups, known=dict.fromkeys(range(20), 0))], 2)
    assert first is not None
    assert other is not None
    assert (other.share, other.lower) == (0.0, 0.0)
    assert other.upper == pytest.approx(wilson(0.0, 20)[1])
    assert first.lower == pytest.approx(1 - other.upper)


def test_rows_without_probabilities_are_left_out() -> None:
    problem = Problem(texts={Row(row): "text" for row in range(3)}, labels=["yes", "no"])
    certain = {Row(0): (0.0, -30.0), Row(2): (-30.0, 0.0)}
    [yes, no] = population_shares([expected_counts(problem, certain)], 2)
    assert yes is not None
    assert no is not None
    assert yes.rows == no.rows == 2
    assert (yes.share, no.share) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("told", [[], [[[(0.5, 0.5), (0.9, 0.1)]]]])
def test_nothing_is_estimated_of_no_rows_or_one_group(told: Sequence[Sequence[Sequence[Sequence[float]]]]) -> None:
    given = label_shares({Label(0): 3, Label(1): 1}, ["yes", "no"])
    found = found_shares(given, [counts(groups) for groups in told])
    assert [(share.label, share.rows, share.share, share.population) for share in found] == [
        ("yes", 3, 0.75, None),
        ("no", 1, 0.25, None),
    ]
