from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import job_config
from service.config import Task
from service.identifiers import Label, Row
from service.jobs.reporting.sample import RowSample, as_numbers, spread
from service.jobs.reporting.shortcuts import FeatureKind, Shortcut, find_shortcuts
from service.records.labels import LabeledRow, LabelState, LabelStatus

TASK = Task(template="{claim} is")


def row(position: int, label: int | None, fields: Mapping[str, Any]) -> LabeledRow:
    status = LabelStatus.UNLABELED if label is None else LabelStatus.LABELED
    state = LabelState(
        position=Row(position), label=None if label is None else Label(label), confidence=0.9, margin=2.0, status=status
    )
    return LabeledRow(id=str(position), data=orjson.dumps(fields), gold=None, state=state)


def found(rows: Sequence[Mapping[str, Any]], labels: Sequence[int | None], task: Task = TASK) -> dict[str, Shortcut]:
    sample = RowSample(task, [name for name in rows[0] if name != task.id_field], len(rows))
    for position, (fields, label) in enumerate(zip(rows, labels, strict=True)):
        sample.add(row(position, label, fields))
    return {shortcut.column or shortcut.kind.value: shortcut for shortcut in find_shortcuts(sample)}


def random_rows(count: int = 80, seed: int = 0) -> list[dict[str, Any]]:
    rng = Random(seed)
    return [
        {"claim": f"{number:03} " + "x" * rng.randint(0, 30), "source": rng.choice("ab"), "year": rng.randint(1, 99)}
        for number in range(count)
    ]


def test_the_feature_that_labels_follow_comes_first_and_the_others_are_chance() -> None:
    rows = random_rows()
    shortcuts = found(rows, [int(row["source"] == "a") for row in rows])
    best, *others = shortcuts.values()
    assert (best.column, best.balanced_accuracy, best.above_majority) == ("source", 1.0, 1.0)
    assert {other.kind for other in others} == {FeatureKind.LENGTH, FeatureKind.POSITION, FeatureKind.COLUMN}
    assert all(other.above_majority < 0.5 for other in others)


@pytest.mark.parametrize("written", [int, str, float])
def test_numbers_count_whether_written_as_text_or_not(written: type) -> None:
    rows = [{**row, "year": written(row["year"])} for row in random_rows()]
    assert found(rows, [int(float(row["year"]) > 50) for row in rows])["year"].balanced_accuracy > 0.9


def test_length_is_that_of_the_rendered_text() -> None:
    rows = random_rows()
    assert found(rows, [int(len(row["claim"]) > 19) for row in rows])["length"].balanced_accuracy > 0.95


def test_missing_values_can_be_a_shortcut() -> None:
    rows = [{**row, "year": row["year"] if number % 2 else None} for number, row in enumerate(random_rows())]
    assert found(rows, [number % 2 for number in range(len(rows))])["year"].balanced_accuracy > 0.95


def test_texts_that_are_unique_and_values_that_are_constant_are_passed_over() -> None:
    rows = [{**row, "constant": "c"} for row in random_rows()]
    shortcuts = found(rows, [number % 2 for number in range(len(rows))])
    assert "claim" not in shortcuts
    assert "constant" not in shortcuts


def test_a_column_that_is_the_claim_itself_is_marked() -> None:
    rows = [{"claim": n, "twice": 2 * n} for n in Random(0).sample(range(1000), 60)]
    shortcuts = found(rows, [int(row["claim"] > 500) for row in rows])
    assert shortcuts["claim"].is_claim
    assert not shortcuts["twice"].is_claim
    assert shortcuts["claim"].balanced_accuracy > 0.9


def test_related_rows_do_not_predict_each_other() -> None:
    task = job_config.Task.model_validate(
        {"template": "{claim} is", "relations": [{"kind": "same_label", "group": "question"}]}
    ).checked()
    rows = [{"claim": f"claim {n}", "question": f"question {n // 4}"} for n in range(80)]
    labels = [Random(n // 4).randrange(2) for n in range(80)]
    assert found(rows, labels, task)["question"].balanced_accuracy == pytest.approx(0.5)
    assert found(rows, labels)["question"].balanced_accuracy > 0.9


def test_the_length_of_one_column_counts_where_the_template_has_several() -> None:
    task = Task(template="{question} {answer}")
    rng = Random(0)
    rows = [{"question": "q" * rng.randint(5, 200), "answer": "a" * rng.randint(1, 30)} for _ in range(80)]
    shortcuts = found(rows, [int(len(row["answer"]) > 15) for row in rows], task)
    assert next(iter(shortcuts.values())).column == "answer"
    assert shortcuts["length"].above_majority < 0.8


@pytest.mark.parametrize("labels", [[0] * 80, [None] * 80, [0] * 76 + [1] * 4])
def test_where_there_is_nothing_to_tell_apart_there_is_no_shortcut(labels: list[int | None]) -> None:
    assert found(random_rows(), labels) == {}


def test_few_rows_prove_nothing() -> None:
    assert found(random_rows(19), [number % 2 for number in range(19)]) == {}


@given(st.integers(0, 100_000), st.integers(1, 500))
def test_a_sample_is_spread_over_all_rows(rows: int, wanted: int) -> None:
    positions = sorted(spread(rows, wanted))
    assert len(positions) == min(rows, wanted)
    assert all(0 <= position < rows for position in positions)
    gaps = [after - before for before, after in pairwise(positions)]
    assert max(gaps, default=0) <= 2 * max(1, rows / wanted) + 1


def test_a_sample_does_not_follow_a_period_of_the_rows() -> None:
    even = sum(position % 2 == 0 for position in spread(40_000, 20_000))
    assert 9_000 < even < 11_000


@pytest.mark.parametrize("cells", [["1", "x"], ["nan", "1"], ["inf"], [2.0, "many"]])
def test_a_column_with_anything_else_is_no_column_of_numbers(cells: list[Any]) -> None:
    assert as_numbers(cells) is None


def test_columns_of_lists_objects_and_long_texts_are_taken_as_values() -> None:
    rows = [{"claim": f"{n}", "tags": [n % 2], "text": f"{n % 2}" * 5000} for n in range(60)]
    shortcuts = found(rows, [n % 2 for n in range(60)])
    assert shortcuts["tags"].balanced_accuracy == 1.0
    assert shortcuts["text"].balanced_accuracy == 1.0
