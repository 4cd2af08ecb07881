"""Rows become examples exactly as they were scored; gold labels are separate and change nothing else."""

import pytest

from api import job_config
from service.trainings.examples import LabelExamples
from service.trainings.request import RowSelection
from tests.unit.trainings.rows import LABELED, UNCERTAIN, UNLABELED, labeled

TASK = job_config.Task.model_validate(
    {"template": "{claim}\nI think this claim is ", "labels": ["True", "False"], "gold_field": "truth"}
).checked()
ROW = {"claim": "Rome is in Spain."}


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
