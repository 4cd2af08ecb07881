from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest

from service.identifiers import Label, Row
from service.search.prompting.views import View, behind_known, draw, known_before, look, unrelated
from service.search.rules.consistency import Constraint, Rule
from tests.toy import resolve
from tests.unit.search.worlds import Reader

SIZES = (4, 8, 16, 64)


def alternating(count: int) -> dict[Row, Label]:
    return {Row(row): Label(row % 2) for row in range(count)}


def views(world: Reader, labels: Mapping[Row, Label], known: Sequence[int] = (), seed: int = 0) -> list[View]:
    problem = replace(world.problem(), known={Row(row): labels[Row(row)] for row in known})
    return resolve(world, look(problem, labels, SIZES, Random(seed)))


@pytest.mark.parametrize("related", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_no_row_is_asked_for_behind_its_own_label_or_that_of_a_related_row(seed: int, *, related: bool) -> None:
    world = Reader(40, 2, related, seed)
    group_of = world.problem().constraints.group_of
    for view in views(world, world.planted, seed=seed):
        told = {row for shown in view.demonstrations for row in group_of[shown]}
        assert view.scores.keys() == set(world.planted) - told
        assert view.scores


def test_a_view_is_balanced_over_the_labels_and_as_large_as_it_should_be() -> None:
    labels = {Row(row): Label(row % 4 == 0) for row in range(80)}
    for view, size in zip(views(Reader(80, 2, False, 0), labels), SIZES[:3], strict=False):
        assert len(set(view.demonstrations)) == len(view.demonstrations) == size
        assert Counter(labels[row] for row in view.demonstrations) == {0: size // 2, 1: size // 2}


@pytest.mark.parametrize("rare", [2, 6, 20])
def test_at_most_half_of_a_labels_rows_are_shown_so_that_a_rare_one_is_asked_for(rare: int) -> None:
    labels = {Row(row): Label(row < rare) for row in range(40)}
    for view in views(Reader(40, 2, False, 0), labels):
        shown = Counter(labels[row] for row in view.demonstrations)
        assert 0 < shown[Label(1)] <= rare // 2
        assert shown[Label(0)] <= (40 - rare) // 2


def test_every_view_shows_other_rows_in_another_order() -> None:
    problem, labels, rng = Reader(40, 2, False, 0).problem(), alternating(40), Random(0)
    drawn = [tuple(draw(problem, labels, 8, rng)) for _ in range(10)]
    assert len(set(map(frozenset, drawn))) == 10
    assert len({tuple(labels[row] for row in rows) for rows in drawn}) > 5


def test_known_rows_stand_first_several_times_and_each_view_leaves_another_quarter_out() -> None:
    known = set(range(12))
    found = views(Reader(40, 2, False, 0), alternating(40), sorted(known))
    left_out = []
    for view, size in zip(found, SIZES[:3], strict=False):
        assert Counter(Counter(view.demonstrations[:36]).values()) == {4: 9}
        assert set(view.demonstrations[:36]) <= known
        assert known.isdisjoint(view.demonstrations[36:])
        assert len(view.demonstrations) == 36 + size
        left_out.append(frozenset(known & view.scores.keys()))
        assert left_out[-1] == known - set(view.demonstrations)
    assert {len(part) for part in left_out} == {3}
    assert len(set.union(*map(set, left_out))) == 9


def test_known_rows_before_other_demonstrations_are_the_same_in_every_look_so_that_a_prefix_cache_holds_them() -> None:
    world, labels = Reader(40, 2, False, 0), alternating(40)
    first, second = (views(world, labels, range(8), seed) for seed in (1, 2))
    for one, other in zip(first, second, strict=True):
        assert one.demonstrations[:24] == other.demonstrations[:24]
        assert one.demonstrations[24:] != other.demonstrations[24:]
    assert len({view.demonstrations[:6] for view in first}) == len(first)


@pytest.mark.parametrize(("known", "showings"), [(1, 4), (16, 4), (20, 3), (32, 2), (60, 1)])
def test_known_rows_are_shown_again_only_where_they_are_few(known: int, showings: int) -> None:
    world = Reader(80, 2, False, 0)
    problem = replace(world.problem(), known={Row(row): world.planted[Row(row)] for row in range(known)})
    shown = known_before(problem, 99)
    assert Counter(shown) == dict.fromkeys(problem.known, showings)


def test_known_rows_that_are_shown_again_leave_half_of_the_room() -> None:
    problem = replace(Reader(40, 2, False, 0).problem(), known=alternating(8), max_demonstrations=33)
    assert len(known_before(problem, 99)) == 16
    labels = alternating(40)
    assert len(draw(problem, labels, 64, Random(0), 99)) == 33
    assert len(known_before(replace(problem, max_demonstrations=5), 99)) == 5


def test_each_view_leaves_out_known_rows_of_every_label_and_related_ones_together() -> None:
    world = Reader(64, 2, True, 0)
    problem = replace(world.problem(), known={row: label for row, label in world.planted.items() if row < 16})
    found = resolve(world, behind_known(problem))
    for view in found:
        left_out = problem.known.keys() - set(view.demonstrations)
        assert {row ^ 1 for row in left_out} == left_out
        assert Counter(problem.known[row] for row in left_out) == {0: 2, 1: 2}
        assert left_out <= view.scores.keys()
    alone = replace(Reader(64, 4, False, 0).problem(), known={Row(row): Label(row % 4) for row in range(16)})
    for number in range(4):
        assert Counter(alone.known[row] for row in known_before(alone, number)) == dict.fromkeys(range(4), 12)


def test_a_whole_look_shows_every_known_row_in_another_order_each_time() -> None:
    world = Reader(40, 2, False, 0)
    problem = replace(world.problem(), known={Row(row): world.planted[Row(row)] for row in range(8)})
    found = resolve(world, look(problem, world.planted, (0, 0, 0), Random(0), whole=True))
    assert len({view.demonstrations for view in found}) == 3
    for view in found:
        assert Counter(view.demonstrations) == dict.fromkeys(problem.known, 4)
        assert view.scores.keys() == set(problem.rows) - problem.known.keys()


def test_a_view_fits_the_prompt_and_known_rows_take_the_room_first() -> None:
    problem = replace(Reader(40, 2, False, 0).problem(), max_demonstrations=5)
    labels = alternating(40)
    assert len(draw(problem, labels, 16, Random(0))) == 5
    knowing = replace(problem, known=alternating(8))
    assert set(draw(knowing, labels, 16, Random(0))) <= set(range(8))
    assert draw(replace(problem, max_demonstrations=0), labels, 16, Random(0)) == []


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_behind_known_rows_each_of_them_is_asked_for_once_and_every_other_row_each_time(count: int) -> None:
    world = Reader(20, 2, False, 0)
    problem = replace(world.problem(), known={Row(row): world.planted[Row(row)] for row in range(count)})
    found = resolve(world, behind_known(problem))
    assert len(found) == min(4, count)
    asked = Counter(row for view in found for row in view.scores)
    assert asked == {Row(row): 1 if row < count else len(found) for row in range(20)}
    assert all(set(view.demonstrations) <= problem.known.keys() for view in found)


def test_where_relations_tie_all_rows_together_there_are_still_rows_to_ask_for() -> None:
    world = Reader(12, 2, False, 0)
    ties = [Constraint(Rule.DIFFERENT_LABEL, ((Row(row),), (Row(row + 1),)), Label(0)) for row in range(11)]
    problem = replace(world.problem(), constraint_list=ties)
    assert len(problem.groups) == 1
    for view in resolve(world, look(problem, alternating(12), SIZES, Random(0))):
        assert view.demonstrations
        assert view.scores.keys() == set(problem.rows) - set(view.demonstrations)
    assert unrelated(problem, problem.rows, [Row(3)]) == [row for row in problem.rows if row != 3]
