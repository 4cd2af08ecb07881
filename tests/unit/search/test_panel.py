import functools
import math
from dataclasses import replace
from random import Random

import pytest

from service.identifiers import Label, Row
from service.search.predictions import panel
from service.search.predictions.calibration import even_shares, shifted
from service.search.predictions.confidence import sharpened
from service.search.predictions.panel import Panel
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import likeliest, normalized
from service.search.state.problem import Problem
from service.search.state.steps import State, StopReason
from service.search.strategies.extension import extended_by_panel
from service.search.strategies.gain_search import GainSearch
from tests.toy import drive, resolve
from tests.unit.search.worlds import Reader, Swapped

ROWS = 40
EVEN = even_shares(2)


def view(seed: int, *, told: float = 2.0, noise: float = 0.5, lean: float = 0.0) -> dict[Row, LogProbabilities]:
    """Scores that prefer label 1 for odd rows, with noise."""
    rng = Random(seed)
    return {Row(row): normalized((lean, rng.gauss((2 * (row % 2) - 1) * told, noise))) for row in range(ROWS)}


def fitted(*views: dict[Row, LogProbabilities], weights: list[float] | None = None) -> Panel:
    return panel.fit([()] * len(views), views, weights or [1.0] * len(views), EVEN)


def test_if_the_first_view_agrees_with_all_it_alone_labels_later_shards() -> None:
    found = fitted(*(view(seed, noise=0.1) for seed in range(5)))
    assert (found.first, len(found.members)) == (1, 5)
    assert found.leading.members == found.members[:1]
    assert found.leading.shift == found.first_shift


def test_the_first_views_are_as_many_as_agree_with_all() -> None:
    views = [view(seed, told=0.7, noise=1.5) for seed in range(6)]
    found = fitted(*views)
    assert found.first > 1
    together = found.scores(views)
    led = found.leading.scores(views[: found.first])
    assert sum(likeliest(led[row]) == likeliest(together[row]) for row in together) >= panel.SAME_LABELS * ROWS


def test_several_noisy_views_are_right_more_often_than_each() -> None:
    views = [view(seed, told=0.7, noise=1.5) for seed in range(8)]
    right = [sum(likeliest(values) == row % 2 for row, values in scores.items()) for scores in views]
    together = fitted(*views).scores(views)
    assert sum(likeliest(values) == row % 2 for row, values in together.items()) > max(right)


def test_each_view_is_calibrated_by_itself_before_the_mean() -> None:
    plain = [view(0), view(1)]
    leaning = [shifted(plain[0], (6.0, 0.0)), shifted(plain[1], (0.0, 3.0))]
    expected, found = fitted(*plain).scores(plain), fitted(*leaning).scores(leaning)
    for row in expected:
        assert found[row] == pytest.approx(expected[row], abs=1e-3)


def test_the_mean_keeps_to_the_shares() -> None:
    views = [view(0), view(1, lean=4.0)]
    scores = panel.fit([(), ()], views, [1.0, 1.0], (0.8, 0.2)).scores(views)
    assert sum(math.exp(values[1]) for values in scores.values()) / ROWS == pytest.approx(0.2, abs=1e-3)


def test_a_view_of_little_weight_changes_little() -> None:
    truth, contrary = view(0), view(1, told=-2.0)
    scores = fitted(truth, contrary, weights=[0.5, 0.01]).scores([truth, contrary])
    assert all(likeliest(values) == row % 2 for row, values in scores.items())


def test_a_row_missing_in_a_view_gets_the_mean_of_the_others() -> None:
    whole, part = view(0), {row: values for row, values in view(1).items() if row >= 20}
    scores = fitted(whole, part).scores([whole, part])
    assert scores.keys() == whole.keys()
    assert all(likeliest(values) == row % 2 for row, values in scores.items())


def test_confidences_are_the_pooled_scores_sharpened_however_the_views_scatter() -> None:
    contrary = [view(0, noise=0.0), view(0, told=-1.5, noise=0.0)] * 2
    fit = fitted(*contrary)
    for row, values in fit.scores(contrary).items():
        assert fit.confidences(contrary)[row] == pytest.approx(values)
        assert replace(fit, certainty=2.0).confidences(contrary)[row] == pytest.approx(sharpened(values, 2.0))


def test_rows_are_in_doubt_where_views_scatter() -> None:
    alike, contrary = [view(0, noise=0.0)] * 4, [view(0, noise=0.0), view(0, told=-1.5, noise=0.0)] * 2
    fit = fitted(*alike)
    sure = fit.doubts(alike)
    for row, values in fit.scores(alike).items():
        assert sure[row] == pytest.approx(values, abs=1e-6)
        assert replace(fit, sharpness=2.0).doubts(alike)[row] == pytest.approx(sharpened(values, 2.0), abs=1e-6)
    unsure = fitted(*contrary).doubts(contrary)
    assert max(math.exp(max(values)) for values in unsure.values()) < 0.52


def test_a_panel_of_an_earlier_release_gives_the_confidences_of_that_release() -> None:
    views = [view(seed, told=0.7, noise=1.5) for seed in range(4)]
    earlier = replace(fitted(*views), sharpness=1.5, certainty=None)
    assert earlier.confidences(views) == earlier.doubts(views)
    assert earlier.confidences(views) != replace(earlier, certainty=1.5).confidences(views)


def test_raw_scores_are_the_weighted_mean_of_the_uncalibrated_log_probabilities() -> None:
    leaning, plain = view(0, lean=6.0), view(1)
    fit = replace(fitted(leaning, plain, weights=[3.0, 1.0]), sharpness=2.5, certainty=2.5)
    for row, values in fit.uncalibrated([leaning, plain]).items():
        mean = [(3 * one + other) / 4 for one, other in zip(leaning[row], plain[row], strict=True)]
        assert values == pytest.approx(normalized(tuple(mean)))
        assert likeliest(values) == 0
    assert fitted(leaning).uncalibrated([leaning]) == {row: pytest.approx(told) for row, told in leaning.items()}


@pytest.mark.parametrize(("weight", "leads"), [(0.1, 2), (5.0, 3)])
def test_a_member_that_came_from_a_panel_can_be_asked_through_the_members_of_that_one(
    weight: float, leads: int
) -> None:
    inner = [view(0, lean=2.0), view(1, told=1.0, lean=-1.0)]
    source = panel.fit([(), [(Row(0), Label(0))]], inner, [3.0, 1.0], (0.3, 0.7))
    pooled = source.scores(inner)
    others = [view(2, noise=2.0), view(3, lean=1.0, noise=2.0)]
    weights = sorted([1.0, weight, 0.7], reverse=True)
    place = weights.index(weight)
    told = [*others[:place], pooled, *others[place:]]
    found = replace(panel.fit([()] * 3, told, weights, (0.6, 0.4)), first=2)
    found = replace(found, first_shift=(0.0, 0.4))
    whole = found.with_source(place, source)
    asked = [*others[:place], *inner, *others[place:]]
    assert whole.scores(asked) == {row: pytest.approx(values) for row, values in found.scores(told).items()}
    assert whole.first == leads
    leading = found.leading.scores(told[:2])
    assert whole.leading.scores(asked[:leads]) == {row: pytest.approx(values) for row, values in leading.items()}


def later(found: Panel, rows: list[Row], own: Problem) -> Problem:
    """A shard of these rows behind the panel."""
    prefixes = tuple("".join(own.demonstration(row, label) for row, label in m.demonstrations) for m in found.members)
    return replace(own, texts={row: own.texts[row] for row in rows}, panel=found, panel_prefixes=prefixes)


@functools.cache
def anchored(world: Reader, count: int) -> tuple[Panel, list[Row]]:
    """The panel of an anchor of the first rows, and the other rows."""
    problem = world.problem()
    rows = list(problem.rows)
    anchor = replace(problem, texts={row: problem.texts[row] for row in rows[:count]})
    found = drive(world, anchor, GainSearch())[-1].panel
    assert found is not None
    return found, rows[count:]


@pytest.mark.parametrize("lean", [0.0, 4.0])
def test_a_later_shard_is_labelled_by_the_anchors_panel(lean: float) -> None:
    world = Reader(80, 2, False, 1, lean=lean, right=0.8, pull=0.6)
    found, rows = anchored(world, 40)
    problem = later(found, rows, world.problem())
    [*_, end] = drive(world, problem, GainSearch())
    views = [
        {row: world.log_probabilities(row, dict(member.demonstrations)) for row in rows} for member in found.members
    ]
    led, together = found.leading.scores(views[: found.first]), found.scores(views)
    assert end.stop is StopReason.ASKED_ONCE
    assert end.labels.keys() == set(rows)
    for row, label in end.labels.items():
        assert label in {likeliest(led[row]), likeliest(together[row])}
        assert likeliest(end.scores[row]) == label
    assert sum(end.labels[row] == world.planted[row] for row in rows) >= 0.95 * len(rows)
    raw = found.leading.uncalibrated(views[: found.first]), found.uncalibrated(views)
    for row, values in end.raw_scores.items():
        assert any(values == pytest.approx(told[row]) for told in raw)
    assert end.raw_scores.keys() == set(rows)
    asked_again = end.facts["rows_asked_again"]
    assert isinstance(asked_again, int)
    assert 0 <= asked_again <= len(rows)


@pytest.mark.parametrize("pull", [0.0, 0.05])
def test_words_that_known_rows_have_turned_are_turned_in_later_shards_too(pull: float) -> None:
    world = Swapped(80, 2, False, 1, pull=pull)
    problem = replace(world.problem(), known={row: world.planted[row] for row in list(world.planted)[:16]})
    anchor = replace(problem, texts={row: problem.texts[row] for row in list(world.planted)[:40]})
    found = drive(world, anchor, GainSearch())[-1].panel
    assert found is not None
    rows = list(world.planted)[40:]
    end = resolve(world, extended_by_panel(later(found, rows, problem), found, State()))
    assert end.labels == {row: world.planted[row] for row in rows}


@pytest.mark.parametrize("label", [0, 1])
def test_other_shares_in_a_later_shard_do_not_move_the_calibration(label: int) -> None:
    world = Reader(80, 2, False, 2, lean=4.0)
    found, rows = anchored(world, 40)
    alike = [row for row in rows if world.planted[row] == label]
    problem = later(found, alike, world.problem())
    end = resolve(world, extended_by_panel(problem, found, State()))
    assert end.labels == dict.fromkeys(alike, Label(label))


def test_known_rows_of_a_later_shard_keep_their_labels() -> None:
    world = Reader(80, 2, False, 1)
    found, rows = anchored(world, 40)
    known = {row: Label(1 - world.planted[row]) for row in rows[:3]}
    problem = replace(later(found, rows, world.problem()), known=known)
    end = resolve(world, extended_by_panel(problem, found, State()))
    assert known.items() <= end.labels.items()
