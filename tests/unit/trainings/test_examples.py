"""Rows become examples exactly as they were scored; gold labels are separate and change nothing else."""

from collections import Counter
from typing import Any

import pytest

from api import job_config
from service.records.labels import LabelStatus
from service.trainings.examples import LabelExamples
from service.trainings.request import RowSelection, parse_request
from service.trainings.rows import Written, doubts_of_labels, doubts_of_rows, why_nothing_is_left
from tests.unit.trainings.rows import LABELED, UNCERTAIN, UNLABELED, labeled

TASK = job_config.Task.model_validate(
    {"template": "{claim}\nI think this claim is ", "labels": ["True", "False"], "gold_field": "truth"}
).checked()
ROW = {"claim": "Rome is in Spain."}
TRUST_UNCERTAIN = "add `uncertain` to rows.statuses (`icm train --uncertain`) if you trust their labels"


def test_an_example_has_the_prompt_with_which_the_row_was_scored() -> None:
    example = LabelExamples(TASK, RowSelection()).of(labeled(ROW, 1, position=7), "0:3")
    assert example == {
        "prompt": "Rome is in Spain.\nI think this claim is",
        "label": "False",
        "weight": 0.9,
        "group": "0:3",
        "id": "row-7",
    }


@pytest.mark.parametrize("gold", ["True", "False", True, " true "])
def test_gold_stands_in_its_own_field_and_changes_no_other(gold: object) -> None:
    examples = LabelExamples(TASK, RowSelection())
    without, given = examples.of(labeled(ROW, 1), "g"), examples.of(labeled(ROW, 1, gold=gold), "g")
    assert without is not None
    assert given is not None
    assert {**without, "gold": "False" if gold == "False" else "True"} == given


@pytest.mark.parametrize("gold", [None, "", "perhaps"])
def test_gold_that_is_none_of_the_labels_is_left_out(gold: object) -> None:
    example = LabelExamples(TASK, RowSelection()).of(labeled(ROW, 1, gold=gold), "g")
    assert example is not None
    assert "gold" not in example


@pytest.mark.parametrize(
    ("selection", "row", "is_taken"),
    [
        (RowSelection(), labeled(ROW, 0, status=UNCERTAIN), False),
        (RowSelection(statuses=[LABELED, UNCERTAIN]), labeled(ROW, 0, status=UNCERTAIN), True),
        (RowSelection(min_confidence=0.9), labeled(ROW, 0, confidence=0.9), True),
        (RowSelection(min_confidence=0.91), labeled(ROW, 0, confidence=0.9), False),
        (RowSelection(min_confidence=0.1), labeled(ROW, 0, confidence=None), False),
        (RowSelection(), labeled(ROW, None, status=UNLABELED), False),
        (RowSelection(), labeled(ROW, 0, status=UNLABELED), False),
    ],
)
def test_rows_are_chosen_by_status_and_confidence(selection: RowSelection, row: object, is_taken: bool) -> None:
    assert (LabelExamples(TASK, selection).of(row, "g") is not None) is is_taken  # type: ignore[arg-type]  # a LabeledRow


def test_a_label_that_the_user_knows_is_learned_whatever_was_found() -> None:
    task = job_config.Task.model_validate(
        {"template": "{claim}", "labels": ["True", "False"], "known_field": "sure"}
    ).checked()
    examples = LabelExamples(task, RowSelection(min_confidence=1.0))
    for row in (labeled({**ROW, "sure": "false"}, 0, confidence=0.1), labeled({**ROW, "sure": "False"}, None)):
        example = examples.of(row, "g")
        assert example is not None
        assert (example["label"], example["weight"]) == ("False", 1.0)
    assert examples.of(labeled({**ROW, "sure": " "}, 0), "g") is None


@pytest.mark.parametrize(
    ("written", "asked", "told"),
    [
        ({"contradicted": 3}, {}, ["3 pairs are left out, since rows that compare the same two texts disagree"]),
        (
            {"labeled": 4},
            {"min_confidence": 0.9},
            ["4 rows have a label that is less sure than rows.min_confidence; lower it"],
        ),
        ({"labeled": 4}, {}, ["4 rows have two texts that are equal, or one that is blank"]),
        (
            {"uncertain": 5, "unlabeled": 6},
            {},
            [
                f"5 rows are uncertain; {TRUST_UNCERTAIN}",
                "6 rows have no label",
            ],
        ),
        ({"uncertain": 5}, {"statuses": ["uncertain"], "min_confidence": 1}, ["5 rows have a label that is less sure"]),
    ],
)
def test_a_training_without_rows_says_why_each_was_left_out(
    written: dict[str, int], asked: dict[str, Any], told: list[str]
) -> None:
    request = parse_request({"job_ids": ["job_1"], "rows": asked})
    statuses = Counter({LabelStatus(name): count for name, count in written.items() if name != "contradicted"})
    counts = Written(statuses=statuses, contradicted=written.get("contradicted", 0))
    found = list(why_nothing_is_left(request, counts))
    assert [one.startswith(expected) for one, expected in zip(found, told, strict=True)] == [True] * len(told)


def test_examples_of_one_label_get_a_warning() -> None:
    examples, one = LabelExamples(TASK, RowSelection()), "all 2 rows have the label 'False', so the model learns"
    for labels, told in (((1, 1), [one]), ((0, 1), []), ((0,), [])):
        written = Written()
        for position, label in enumerate(labels):
            example = examples.of(labeled(ROW, label, position=position), "g")
            assert example is not None
            written.add(example)
        assert [doubt[: len(one)] for doubt in doubts_of_labels(written)] == told


def test_a_training_that_leaves_out_more_rows_than_it_reads_gets_a_warning_with_the_reason() -> None:
    statuses = Counter({LabelStatus.UNCERTAIN: 30, LabelStatus.UNLABELED: 1})
    request = parse_request({"job_ids": ["job_1"]})
    [told] = doubts_of_rows(request, Written(rows=9, left_out=31, statuses=statuses))
    assert told.startswith("31 of 40 rows of the jobs are left out: 30 rows are uncertain; ")
    assert told.endswith("; 1 row has no label")
    for rows, left_out in ((31, 31), (40, 0), (0, 31)):  # with no row at all the training is refused
        assert not list(doubts_of_rows(request, Written(rows=rows, left_out=left_out, statuses=statuses)))
