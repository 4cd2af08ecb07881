from collections import Counter
from dataclasses import dataclass, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.prompting.demonstrations import balanced_beginning, beginning_text, keep_fitting
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Problem
from tests.long import examples

LARGEST_GROUP = 4


@dataclass(frozen=True)
class Drawn:
    """A problem with room for some of its demonstrations, and a labelling of some of its rows."""

    problem: Problem
    labels: dict[Row, Label]

    def fits(self, rows: list[Row]) -> bool:
        problem = self.problem
        within = problem.budget_tokens is None or problem.tokens(rows) <= problem.budget_tokens
        return within and (problem.max_demonstrations is None or len(rows) <= problem.max_demonstrations)

    def has_whole_groups(self, rows: list[Row]) -> bool:
        groups = [{row for row in group if row in self.labels} for group in self.problem.groups]
        return all(group <= set(rows) or group.isdisjoint(rows) for group in groups)


@st.composite
def drawn(draw: st.DrawFn, *, alike: bool = False) -> Drawn:
    """Groups of up to four rows; `alike`: one label in each, and all rows are labelled."""
    sizes = draw(st.lists(st.integers(1, LARGEST_GROUP), min_size=1, max_size=20))
    numbers = iter(range(sum(sizes)))
    groups = [tuple(Row(next(numbers)) for _ in range(size)) for size in sizes]
    labels = dict[Row, Label]()
    for group in groups:
        common = draw(st.integers(0, 2))
        for row in group:
            label = common if alike else draw(st.sampled_from([0, 1, 2, None]))
            labels |= {} if label is None else {row: Label(label)}
    problem = Problem(
        texts={row: str(row) for group in groups for row in group},
        labels=("a", "b", "c"),
        constraint_list=[Constraint(Rule.SAME_LABEL, tuple((row,) for row in group), Label(0)) for group in groups],
        demonstration_tokens={row: draw(st.integers(1, 9)) for group in groups for row in group},
        budget_tokens=draw(st.none() | st.integers(0, 120)),
        max_demonstrations=draw(st.none() | st.integers(1, 30)),
    )
    return Drawn(problem, labels)


@settings(max_examples=examples(100), deadline=None)
@given(drawn(), st.integers(0, 5))
def test_no_prompt_has_more_demonstrations_than_fit_and_groups_stay_whole(found: Drawn, seed: int) -> None:
    for choose in (keep_fitting, balanced_beginning):
        rows = choose(found.problem, found.labels, Random(seed))
        assert found.fits(rows)
        assert found.has_whole_groups(rows)
        assert len(set(rows)) == len(rows)
        assert set(rows) <= found.labels.keys()


@settings(max_examples=examples(60), deadline=None)
@given(drawn(), st.integers(0, 5))
def test_demonstrations_stand_in_the_order_of_the_labelling_and_all_where_they_fit(found: Drawn, seed: int) -> None:
    labels = dict(sorted(found.labels.items(), key=lambda item: (item[0] * 7) % 11))
    rows = keep_fitting(found.problem, labels, Random(seed))
    assert rows == [row for row in labels if row in rows]
    assert (rows == list(labels)) == found.fits(list(labels))


@settings(max_examples=examples(100), deadline=None)
@given(drawn(alike=True), st.integers(0, 5))
def test_labels_are_shown_about_equally_often_as_long_as_there_are_rows_left(found: Drawn, seed: int) -> None:
    rows = balanced_beginning(found.problem, found.labels, Random(seed))
    shown = Counter(found.labels[row] for row in rows)
    left = {found.labels[row] for row in found.labels.keys() - set(rows)}
    for label in left:
        assert max(shown.values(), default=0) <= shown[label] + LARGEST_GROUP


@settings(max_examples=examples(100), deadline=None)
@given(drawn(), st.integers(0, 120), st.integers(0, 5))
def test_with_less_room_the_beginning_of_the_same_list_is_shown(found: Drawn, budget: int, seed: int) -> None:
    whole = found.problem.budget_tokens
    shorter = replace(found.problem, budget_tokens=budget if whole is None else min(budget, whole))
    beginning = balanced_beginning(shorter, found.labels, Random(seed))
    assert balanced_beginning(found.problem, found.labels, Random(seed))[: len(beginning)] == beginning


def test_a_rare_label_is_not_crowded_out() -> None:
    rows = [Row(row) for row in range(100)]
    problem = Problem(texts={row: str(row) for row in rows}, labels=("a", "b"), max_demonstrations=10)
    labels = {row: Label(int(row >= 97)) for row in rows}
    assert Counter(labels[row] for row in balanced_beginning(problem, labels, Random(0))) == {0: 7, 1: 3}


@settings(max_examples=examples(50), deadline=None)
@given(drawn(alike=True))
def test_demonstrations_of_a_view_that_do_not_fit_drop_out_from_the_end(found: Drawn) -> None:
    problem, shown = found.problem, list(found.labels.items())
    fitting = next(count for count in range(len(shown), -1, -1) if found.fits([row for row, _ in shown[:count]]))
    expected = "".join(problem.demonstration(row, label) for row, label in shown[:fitting])
    assert beginning_text(problem, shown) == expected
