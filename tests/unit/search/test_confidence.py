import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.predictions.confidence import best_sharpness, part_left, sharpened, sharpness_for
from service.search.predictions.scores import likeliest, normalized

SCORES = {Row(row): normalized((1.0, 0.0) if row % 2 else (0.0, 1.0)) for row in range(200)}


def witness(agreeing: float) -> dict[Row, Label]:
    """Labels of which so large a share are the likeliest ones."""
    return {
        row: Label(likeliest(values) if row < agreeing * len(SCORES) else 1 - likeliest(values))
        for row, values in SCORES.items()
    }


def test_sharpness_grows_with_how_often_a_witness_agrees() -> None:
    found = [best_sharpness(SCORES, witness(share)) for share in (0.6, 0.75, 0.85, 0.95, 1.0)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.5)
    assert found[-1] == pytest.approx(4.0)
    assert len(set(found)) >= 4


def test_a_witness_that_agrees_as_often_as_the_scores_say_leaves_them_nearly_as_they_are() -> None:
    said = math.exp(max(SCORES[Row(0)]))
    assert best_sharpness(SCORES, witness(said)) == pytest.approx(1.0, abs=0.1)


def test_without_a_witness_scores_stay_as_they_are() -> None:
    assert best_sharpness(SCORES, {}) == 1.0
    assert best_sharpness({}, witness(1.0)) == 1.0
    assert sharpened(SCORES[Row(0)], 1.0) == pytest.approx(SCORES[Row(0)])


def test_evidence_of_few_rows_moves_the_sharpness_little_from_what_was_likely_before() -> None:
    few = dict(list(witness(1.0).items())[:4])
    spreads = [best_sharpness(SCORES, few, before=2.0, spread=spread) for spread in (0.1, 0.5, 10.0)]
    assert spreads == sorted(spreads)
    assert spreads[0] == pytest.approx(2.0, abs=0.1)
    assert spreads[-1] > 4.0
    assert best_sharpness(SCORES, {}, before=2.0, spread=0.5) == 2.0


def test_a_witness_may_lead_as_far_from_what_was_likely_before_as_its_rows_prove() -> None:
    assert best_sharpness(SCORES, witness(1.0), before=6.0, spread=1.0) > 6.0
    assert best_sharpness(SCORES, witness(0.5), before=6.0, spread=1.0) < 1.0


@pytest.mark.parametrize("accuracy", [0.55, 0.731, 0.9, 0.97])
def test_scores_are_made_as_sure_on_average_as_their_labels_are_expected_to_be_right(accuracy: float) -> None:
    rng = Random(3)
    scores = {Row(row): normalized((rng.gauss(0, 2), rng.gauss(0, 2), 0.0)) for row in range(100)}
    factor = sharpness_for(scores, accuracy)
    said = [math.exp(max(sharpened(values, factor))) for values in scores.values()]
    assert sum(said) / len(said) == pytest.approx(accuracy, abs=1e-5)


def test_flat_scores_stay_flat_whatever_is_expected() -> None:
    flat = dict.fromkeys(SCORES, normalized((0.0, 0.0)))
    assert sharpened(flat[Row(0)], sharpness_for(flat, 0.9)) == pytest.approx(flat[Row(0)])
    assert sharpness_for({}, 0.9) == pytest.approx(1.0)


def test_sharpening_multiplies_differences_and_keeps_the_order() -> None:
    found = sharpened(normalized((2.0, 1.0, -1.0)), 3.0)
    assert (found[0] - found[1], found[1] - found[2]) == pytest.approx((3.0, 6.0))
    assert sum(map(math.exp, found)) == pytest.approx(1)


def test_views_that_agree_keep_the_whole_of_their_mean() -> None:
    assert part_left([normalized((1.5, 0.0))] * 5, [1.0] * 5) == pytest.approx(1.0)


def test_views_by_lot_keep_little_of_their_mean() -> None:
    rng = Random(0)
    found = [
        part_left([normalized((rng.gauss(0, 1), rng.gauss(0, 1))) for _ in range(8)], [1.0] * 8) for _ in range(500)
    ]
    assert sorted(found)[len(found) // 2] < 0.1
    assert sum(found) / len(found) < 0.35


def test_the_less_views_scatter_the_more_is_kept() -> None:
    found = [
        part_left([normalized((1.0 + size * sign, 0.0)) for sign in (-1, 1, -1, 1)], [1.0] * 4)
        for size in (0.0, 0.5, 1.0, 1.5, 5.0)
    ]
    assert found == sorted(found, reverse=True)
    assert found[1:3] == pytest.approx([1 - 0.25 / 3, 1 - 1 / 3])
    assert 0 < found[-1] < 0.1


def test_one_view_has_no_scatter_whether_alone_or_outweighing_the_others() -> None:
    assert part_left([(-0.1, -2.4)], [0.3]) == 1.0
    assert part_left([(-0.1, -2.4), (-2.4, -0.1)], [1.0, 0.001]) == 1.0


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(0.01, 1)), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_the_part_left_lies_between_0_and_1_whatever_the_views(drawn: list[tuple[float, float, float]]) -> None:
    opinions = [normalized((one, other)) for one, other, _ in drawn]
    assert 0 < part_left(opinions, [weight for _, _, weight in drawn]) <= 1
