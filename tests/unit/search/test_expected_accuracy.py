from collections.abc import Mapping, Sequence
from random import Random

import pytest

from service.identifiers import Label, Row
from service.search.measures.expected_accuracy import expected_accuracy
from service.search.predictions.calibration import even_shares
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores, normalized

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


def estimated(*looks: Scores, classes: int = 2) -> float:
    return expected_accuracy(looks, even_shares(classes))


def test_looks_that_agree_on_every_row_are_nearly_always_right_but_never_for_certain() -> None:
    assert estimated(*[view(0, right=1.0)] * 6) == pytest.approx((ROWS + 1) / (ROWS + 2))


def test_few_rows_make_no_certain_estimate() -> None:
    few = {row: values for row, values in view(0, right=1.0).items() if row < 6}
    assert estimated(*[few] * 6) == pytest.approx(7 / 8)


@pytest.mark.parametrize("classes", [2, 4])
def test_looks_agree_as_often_as_they_are_right_where_their_mean_is_calibrated(classes: int) -> None:
    rng = Random(classes)
    labels = [Label(label) for label in range(classes)]
    looks: list[dict[Row, LogProbabilities]] = [{} for _ in range(8)]
    right = 0
    for row in TRUTH:
        chances = [rng.random() ** 4 for _ in labels]  # of each label, to be what a look says and to be true
        truth, *said = rng.choices(labels, chances, k=1 + len(looks))
        right += said.count(truth)
        for look, label in zip(looks, said, strict=True):
            look[row] = leaning(label, classes)
    assert estimated(*looks, classes=classes) == pytest.approx(right / len(looks) / ROWS, abs=0.03)


def test_errors_that_all_looks_share_are_invisible() -> None:
    wrong = Random(1).sample(range(ROWS), ROWS // 5)
    assert estimated(*(view(seed, wrong, right=1.0) for seed in range(6))) > 0.99


def test_the_impression_makes_errors_that_the_views_share_visible() -> None:
    wrong = Random(1).sample(range(ROWS), ROWS // 5)
    views = [view(seed, wrong, right=0.98) for seed in range(6)]
    impression = view(9, right=0.9)
    assert estimated(*views, impression) < estimated(*views) - 0.05


def test_the_less_looks_agree_the_lower_is_the_estimate_and_noise_is_no_better_than_chance() -> None:
    found = [estimated(*(view(seed, right=right) for seed in range(6))) for right in (0.95, 0.85, 0.7, 0.6, 0.5)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("classes", [3, 5])
def test_with_more_labels_chance_is_less(classes: int) -> None:
    rng = Random(classes)
    by_lot: list[Mapping[Row, LogProbabilities]] = [
        {row: leaning(Label(rng.randrange(classes)), classes) for row in TRUTH} for _ in range(7)
    ]
    assert estimated(*by_lot, classes=classes) == pytest.approx(1 / classes, abs=0.03)


def test_a_language_models_bias_towards_a_label_is_no_agreement() -> None:
    looks = [view(seed, right=0.6) for seed in range(6)]
    biased = [{row: (values[0] + 5.0, values[1]) for row, values in look.items()} for look in looks]
    assert estimated(*biased) == pytest.approx(estimated(*looks), abs=1e-9)


def test_rows_that_a_view_shows_and_does_not_score_do_not_count_against_it() -> None:
    looks = [{row: values for row, values in view(seed, right=1.0).items() if row % 6 != seed} for seed in range(6)]
    assert estimated(*looks) == pytest.approx((ROWS + 1) / (ROWS + 2))
