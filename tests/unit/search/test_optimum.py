import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.rules.consistency import Constraint, Rule
from service.search.rules.optimum import best_labelling
from tests.long import examples
from tests.unit.search.rules import conflicts, constraint_sets, labellings, rows

CIRCLE = (((0, 1), (1, 2), (2, 0)), ((1, 0), (2, 1), (0, 2)))


def scores(data: st.DataObject, count: int, classes: int) -> dict[Row, tuple[float, ...]]:
    row = st.tuples(*[st.floats(-5, 0, width=16)] * classes)
    return {number: data.draw(row) for number in rows(*range(count))}


@settings(max_examples=examples(300), deadline=None)
@given(constraint_sets(), st.integers(2, 4), st.data())
def test_no_labelling_has_fewer_conflicts_or_as_many_and_a_better_sum(
    drawn: tuple[int, list[Constraint]], classes: int, data: st.DataObject
) -> None:
    count, constraints = drawn
    values = scores(data, count, classes)
    free = rows(*data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    fixed = {row: Label(data.draw(st.integers(0, classes - 1))) for row in rows(*range(count)) if row not in free}

    def rank(labels: dict[Row, Label]) -> tuple[int, float]:
        return len(conflicts(constraints, labels)), -sum(values[row][labels[row]] for row in free)

    found = best_labelling(constraints, {row: values[row] for row in free}, fixed, {})
    broken, total = rank({**fixed, **found.labels})
    best = min(rank({**labels, **fixed}) for labels in labellings(count, classes))
    assert found.proven
    assert broken == best[0]
    assert total == pytest.approx(best[1], abs=1e-5)


def test_rows_without_label_or_score_are_left_out_of_account() -> None:
    one = Constraint(Rule.EXACTLY_ONE, (rows(0), rows(1)), Label(0))
    found = best_labelling([one], {Row(0): (-5.0, -0.1)}, {}, {})
    assert found.labels == {0: 1}


def test_twenty_labels_over_five_rows_that_must_differ() -> None:
    differ = Constraint(Rule.DIFFERENT_LABEL, tuple(rows(row) for row in range(5)), Label(0))
    values = {row: tuple(-float((label - 3) ** 2) for label in range(20)) for row in rows(*range(5))}
    found = best_labelling([differ], values, {}, {})
    assert found.proven
    assert sorted(found.labels.values()) == [1, 2, 3, 4, 5]
