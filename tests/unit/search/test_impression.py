from dataclasses import replace

import pytest

from service.identifiers import Label, Row
from service.search.gain.impression import first_impression
from service.search.predictions.prompt_tree import PromptTree
from service.search.predictions.scores import likeliest
from tests.toy import ToyWorld, resolve
from tests.unit.search.worlds import Deaf, Reader, Swapped


def known(world: ToyWorld, count: int) -> dict[Row, Label]:
    """Planted labels of some rows, both labels among them."""
    by_label = sorted(world.planted, key=lambda row: (row // 2 % 2, world.planted[row], row))
    return {row: world.planted[row] for row in by_label[:: max(1, len(by_label) // count)][:count]}


def share_right(world: Reader, count: int) -> float:
    problem = replace(world.problem(), known=known(world, count) if count else {})
    scores = resolve(world, first_impression(problem)).scores
    assert scores.keys() == set(problem.rows)
    return world.share_right({row: likeliest(values) for row, values in scores.items()})


def test_without_known_rows_it_is_the_answers_without_demonstrations() -> None:
    world = Reader(20, 2, False, 0, lean=2.0)
    asked: list[PromptTree] = []
    asking = first_impression(world.problem())
    asked += next(asking)
    with pytest.raises(StopIteration) as end:
        asking.send([world.answer(tree) for tree in asked])
    assert [tree.text for tree in asked] == [""]
    assert end.value.value.source is None
    assert end.value.value.scores == {row: pytest.approx(world.log_probabilities(row, {})) for row in world.planted}


@pytest.mark.parametrize("world", [Swapped(40, 2, False, 3), Swapped(40, 3, False, 3, home=2.5)], ids=["two", "three"])
def test_label_words_that_are_read_the_wrong_way_round_are_read_right_with_8_known_rows(world: Swapped) -> None:
    deaf_to_others = replace(world, pull=0.0)
    assert share_right(deaf_to_others, 0) < 0.5
    assert share_right(deaf_to_others, 8) == 1.0


def test_one_known_row_that_might_be_a_mistake_turns_no_reading() -> None:
    world = Swapped(40, 2, False, 3, home=2.0, pull=0.0)
    assert share_right(world, 1) < 0.5


def test_label_words_that_are_read_right_stay_however_strong_the_bias() -> None:
    assert share_right(Reader(40, 2, False, 0, lean=5.0), 8) == 1.0


def test_known_rows_lend_a_coin_flip_their_demonstrations() -> None:
    world = Reader(40, 2, False, 0, home=0.5, right=0.5, pull=1.0)
    assert share_right(world, 0) == 0.5
    assert share_right(world, 8) > 0.9


def test_views_behind_uninformative_known_rows_leave_the_first_answers() -> None:
    assert share_right(Deaf(40, 2, False, 1, home=3.0), 8) >= 0.85
