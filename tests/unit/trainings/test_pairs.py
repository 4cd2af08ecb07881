"""Comparisons become pairs: each once, never of equal texts, and the chosen text is the one that labels prefer."""

from typing import Any

from api import job_config
from api.labelling.configuration import parse_config
from service.config import Task
from service.jobs.task.comparison import comparison_of
from service.records.labels import LabeledRow
from service.trainings.examples import Example
from service.trainings.pairs import Pairs
from service.trainings.request import RowSelection
from tests.unit.trainings.rows import labeled

TASK = parse_config({"preset": "comparison", "task": {}}).task


def row(first: object, second: object, label: int | None, position: int = 0, **given: Any) -> LabeledRow:
    fields = {"query": "How are you?", "response_a": first, "response_b": second}
    return labeled(fields, label, position=position, **given)


def pairs_of(*rows: LabeledRow, task: Task = TASK, selection: RowSelection | None = None) -> list[Example]:
    comparison = comparison_of(task)
    assert comparison is not None
    pairs = Pairs(task, comparison, selection or RowSelection())
    for each in rows:
        pairs.add(each)
    return [pair for each in rows if (pair := pairs.of(each, "g")) is not None]


def test_twins_make_one_pair_of_the_text_that_both_prefer() -> None:
    twins = (row("Fine.", "No.", 0, 1, confidence=0.8), row("No.", "Fine.", 1, 2, confidence=0.6))
    for order in (twins, twins[::-1]):
        [pair] = pairs_of(*order)
        assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ("How are you?\n", "Fine.", "No.")
        assert pair["weight"] == 0.7
        assert "chosen_first" not in pair  # it was shown both ways


def test_a_pair_says_whether_gold_prefers_the_same_text() -> None:
    task = parse_config({"preset": "comparison", "task": {"gold_field": "gold"}}).task

    def gold_of(*rows: LabeledRow) -> list[object]:
        return [pair.get("gold") for pair in pairs_of(*rows, task=task)]

    assert gold_of(row("a", "b", 0, gold="True"), row("c", "d", 0, gold="False")) == ["chosen", "rejected"]
    assert gold_of(row("a", "b", 1, gold="False"), row("c", "d", 1, gold=True)) == ["chosen", "rejected"]
    assert gold_of(row("a", "b", 0)) == [None]
    assert gold_of(row("a", "b", 0, 1), row("b", "a", 1, 2, gold="False")) == ["chosen"], "a twin has it"
    assert gold_of(row("a", "b", 0, 1, gold="True"), row("b", "a", 1, 2, gold="True")) == [None], "twins disagree"


def test_a_pair_without_a_twin_records_in_which_order_it_was_shown() -> None:
    first, second = pairs_of(row("a", "b", 0), row("c", "d", 1))
    assert (first["chosen"], first["chosen_first"]) == ("a", True)
    assert (second["chosen"], second["chosen_first"]) == ("d", False)


def test_twins_that_contradict_each_other_make_no_pair() -> None:
    assert pairs_of(row("a", "b", 0), row("b", "a", 0)) == []


def test_equal_and_empty_texts_make_no_pair() -> None:
    assert pairs_of(row("a", "a", 0), row("a", "", 1), row(1, "1", 0)) == []


def test_a_blank_cell_is_no_text_to_learn() -> None:
    nameless = labeled({"query": None, "response_a": "a", "response_b": "b"}, 0)
    assert pairs_of(row("a", None, 0), row(" ", "b", 1), nameless) == []


def test_a_repeated_comparison_makes_one_pair() -> None:
    assert len(pairs_of(row("a", "b", 0, 1), row("a", "b", 0, 2))) == 1


def test_the_same_texts_behind_another_prompt_are_another_pair() -> None:
    other = labeled({"query": "Who are you?", "response_a": "a", "response_b": "b"}, 1)
    assert [pair["chosen"] for pair in pairs_of(row("a", "b", 0), other)] == ["a", "b"]


def test_if_one_twin_is_left_out_the_other_makes_the_pair() -> None:
    unsure = row("b", "a", 0, confidence=0.2)
    [pair] = pairs_of(row("a", "b", 0), unsure, selection=RowSelection(min_confidence=0.5))
    assert pair["chosen"] == "a"


def test_the_label_that_means_first_is_the_relations() -> None:
    relation = {"kind": "antisymmetric", "first": "x", "second": "y", "label": "yes"}
    task = job_config.Task.model_validate(
        {"template": "{x} {y}", "labels": ["no", "yes"], "relations": [relation]}
    ).checked()
    [pair] = pairs_of(labeled({"x": "a", "y": "b"}, 1), task=task)
    assert (pair["prompt"], pair["chosen"]) == ("", "a")


def test_with_several_other_labels_none_prefers_the_second_text() -> None:
    relation = {"kind": "antisymmetric", "first": "x", "second": "y"}
    task = job_config.Task.model_validate(
        {"template": "{x} {y}", "labels": ["first", "second", "same"], "relations": [relation]}
    ).checked()
    rows = (labeled({"x": "a", "y": "b"}, 0), labeled({"x": "c", "y": "d"}, 2), labeled({"x": "e", "y": "f"}, 1))
    assert [pair["chosen"] for pair in pairs_of(*rows, task=task)] == ["a"]
