import math
from collections.abc import Mapping, Sequence
from random import Random

import pytest

from service.identifiers import Label, Row
from service.search.measures.expected_accuracy import expected_accuracy
from service.search.predictions.calibration import even_shares
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores, likeliest, normalized

ROWS = 400
TRUTH = {Row(row): Label(row % 2) for row in range(ROWS)}


def view(seed: int, wrong: Sequence[int] = (), *, right: float = 0.9, classes: int = 2) -> dict[Row, LogProbabilities]:
    """Scores that are right by this chance, independently, but always wrong for some rows."""
    rng = Random(seed)
    return {
        row: leaning(Label((label + (row in wrong or rng.random() > right)) % classes), classes)
        for row, label in TRUTH.items()
    }


def leaning(label: Label, classes: int) -> LogProbabilities:
    return normalized(tuple(1.0 * (label == other) for other in range(classes)))


def accuracy(views: Sequence[Scores]) -> float:
    """The share of right labels by the mean of the views."""
    means = {row: [math.fsum(values) for values in zip(*(view[row] for view in views), strict=True)] for row in TRUTH}
    return sum(likeliest(tuple(values)) == TRUTH[row] for row, values in means.items()) / ROWS


def estimated(views: Sequence[Scores], impression: Scores | None = None, classes: int = 2) -> float:
    return expected_accuracy(views, impression, even_shares(classes))


def test_sources_that_agree_on_every_row_are_nearly_always_right_but_never_for_certain() -> None:
    views = [view(0, right=1.0)] * 6
    assert estimated(views, view(0, right=1.0)) == pytest.approx((ROWS + 1) / (ROWS + 2))
    assert estimated(views) == pytest.approx((ROWS + 1) / (ROWS + 2))


def test_few_rows_make_no_certain_estimate() -> None:
    few = {row: values for row, values in view(0, right=1.0).items() if row < 6}
    assert estimated([few] * 6, few) == pytest.approx(7 / 8)


@pytest.mark.parametrize("shared", [0.0, 0.05, 0.1, 0.2])
def test_errors_that_the_views_share_and_the_impression_does_not_are_seen_by_half(shared: float) -> None:
    wrong = Random(1).sample(range(ROWS), round(shared * ROWS))
    views = [view(seed, wrong, right=0.98) for seed in range(6)]
    impression = view(9, right=1.0)
    within, both = estimated(views), estimated(views, impression)
    assert accuracy(views) == pytest.approx(1 - shared, abs=0.01)
    assert within > 0.96
    assert both == pytest.approx((within + accuracy(views)) / 2, abs=0.01)


def test_errors_of_the_impression_alone_lower_the_estimate_by_half_their_number() -> None:
    views = [view(seed, right=0.98) for seed in range(6)]
    assert estimated(views) - estimated(views, view(9, right=0.8)) == pytest.approx(0.1, abs=0.03)


def test_the_less_views_agree_the_lower_is_the_estimate_and_noise_is_no_better_than_chance() -> None:
    found = [estimated([view(seed, right=right) for seed in range(6)]) for right in (0.95, 0.85, 0.7, 0.6, 0.5)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("classes", [3, 5])
def test_with_more_labels_chance_is_less(classes: int) -> None:
    rng = Random(classes)
    by_lot: list[Mapping[Row, LogProbabilities]] = [
        {row: leaning(Label(rng.randrange(classes)), classes) for row in TRUTH} for _ in range(7)
    ]
    assert estimated(by_lot[1:], by_lot[0], classes) == pytest.approx(1 / classes, abs=0.1)


def test_a_language_models_bias_towards_a_label_is_no_agreement() -> None:
    views = [{row: (values[0] + 5.0, values[1]) for row, values in view(seed, right=0.6).items()} for seed in range(6)]
    assert estimated(views) == pytest.approx(estimated([view(seed, right=0.6) for seed in range(6)]), abs=1e-9)


def test_rows_that_a_view_shows_and_does_not_score_do_not_count_against_it() -> None:
    views = [{row: values for row, values in view(seed, right=1.0).items() if row % 6 != seed} for seed in range(6)]
    assert estimated(views) == pytest.approx((ROWS + 1) / (ROWS + 2))
