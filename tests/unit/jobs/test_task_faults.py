from typing import Any

import pytest

from api.labelling.configuration import parse_config
from service.errors import InvalidConfig


def refusals(**task: Any) -> list[tuple[str | None, str]]:
    with pytest.raises(InvalidConfig) as caught:
        parse_config({"task": {"template": "{a}", **task}})
    return [(fault.field, fault.message) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"gold_values": {"yes": "true"}}, "task.gold_values.yes", "'true' is not one of ['True', 'False']"),
        ({"gold_values": {"yes": "True"}, "gold_field": None}, "task.gold_values", "without a gold_field"),
        ({"gold_values": {" ": "True"}}, "task.gold_values", "blank"),
        ({"gold_values": {"yes": "True", "Yes ": "False"}}, "task.gold_values", "one label"),
        ({"gold_values": {"1": "True", "1.0": "False"}}, "task.gold_values", "one label"),
    ],
)
def test_a_mapping_of_gold_that_cannot_be_meant_is_refused(changes: dict[str, Any], field: str, told: str) -> None:
    [(found, message)] = refusals(**{"gold_field": "g", **changes})
    assert found == field
    assert told in message


@pytest.mark.parametrize(
    ("template", "example"),
    [("Is it?", "{text}"), ("{{ text }}", "{text}"), ("Is it?\n{{claim}}", "{claim}"), ("{{{{a}}}}", "{a}")],
)
def test_a_template_that_reads_no_column_is_refused(template: str, example: str) -> None:
    [(field, message)] = refusals(template=template)
    assert field == "task.template"
    assert message.endswith(f"in single braces, as in {example}")


@pytest.mark.parametrize("end", [" \n ", "\u00a0", "\u200b"])
def test_a_template_that_ends_with_white_space_is_refused_since_a_space_is_put_before_the_label(end: str) -> None:
    [(field, message)] = refusals(template=f"{{a}}\nAnswer:{end}")
    assert field == "task.template"
    assert "must not end with white space" in message


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["a\nb", "c"], "must not hold a line break"),
        (["a\u2028b", "c"], "must not hold a line break"),
        ([COMPOSED.upper(), "x", DECOMPOSED], "must differ by more than"),
        (["very good", "very\u00a0Good"], "must differ by more than"),
        (["good", "go\u200bod"], "must differ by more than"),
        (["\u200b", "x"], "must not be invisible"),
        (["Good", "good"], "the labels 'Good' and 'good' must differ by more than case; leave one out or reword it"),
        (["a", "b", "a", "b"], "the label 'a' is given more than once; give each label once; the label 'b' is given"),
        (["good", "good"], "the label 'good' is given more than once; give each label once"),
        (["good", " good"], "begin or end with white space, as ' good' does"),
        (["good", "bad\u00a0"], "begin or end with white space"),
        (["good", "\u3000"], "must not be empty"),
    ],
)
def test_labels_that_break_a_line_or_look_like_each_other_are_refused(labels: list[str], told: str) -> None:
    [(field, message)] = refusals(labels=labels)
    assert field == "task.labels"
    assert told in message


@pytest.mark.parametrize("labels", [["x" * 9_000, "x" * 9_000], ["x" * 9_000, "X" * 9_000], ["a", "x" * 9_000 + " "]])
def test_the_message_about_an_endless_label_shows_only_its_beginning(labels: list[str]) -> None:
    [(field, message)] = refusals(labels=labels)
    assert field == "task.labels"
    assert "'xxx" in message
    assert len(message) < 1_000


@pytest.mark.parametrize(
    ("label", "character"),
    [
        ("\u200byes", "'\\u200b'"),
        ("yes\ufeff", "'\\ufeff'"),
        ("\u200dyes\u2060", "'\\u2060'"),
        ("ye\x1b[1ms", "'\\x1b'"),
    ],
)
def test_a_label_with_a_hidden_character_is_refused_since_the_language_model_would_read_it(
    label: str, character: str
) -> None:
    [(field, message)] = refusals(labels=[label, "no"])
    assert field == "task.labels"
    assert message.endswith(f"remove {character}")


@pytest.mark.parametrize("label", ["\u2764\ufe0f", "\u0d28\u0d4d\u200d", "\U0001f3f4\U000e0067\U000e0062\U000e007f"])
def test_a_label_whose_last_sign_ends_with_a_joiner_or_a_tag_is_taken(label: str) -> None:
    task = {"template": "{a}", "labels": [label, "no"]}
    assert parse_config({"task": task}).task.labels[0] == label


@pytest.mark.parametrize(
    ("separator", "labels", "told"),
    [
        ("good", ["good", "bad"], "must not occur in a label, as it does in 'good'"),
        (" ", ["good", "rather bad"], "as it does in 'rather bad'"),
        ("\nGood\n", ["good", "bad"], "must not be a label, as 'good' is"),
        (" " + DECOMPOSED, [COMPOSED, "bad"], "must not be a label"),
    ],
)
def test_a_separator_that_is_a_label_or_occurs_in_one_is_refused(separator: str, labels: list[str], told: str) -> None:
    [(field, message)] = refusals(labels=labels, separator=separator)
    assert field == "task.separator"
    assert told in message


def test_labels_that_people_can_tell_apart_and_other_separators_are_taken() -> None:
    task = {
        "template": "{a}",
        "labels": ["neutral", "neutral positive", "1", "10", "stra\u00dfe"],
        "separator": "\n---\n",
    }
    assert parse_config({"task": task}).task.labels[3] == "10"
    assert parse_config({"task": {"template": "{a}", "separator": " "}}).task.separator == " "


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{a} } b", "the } at character 5 stands alone"),
        ("{a} is {b", "the { at character 8 stands alone"),
        ("{a}{b{c}}", "a column whose name has braces cannot be named: rename it"),
        ("{a} {} b", "no column's name between"),
    ],
)
def test_a_brace_that_names_no_column_is_reported_in_plain_words(template: str, told: str) -> None:
    [(field, message)] = refusals(template=template)
    assert field == "task.template"
    assert told in message
    assert "format string" not in message


def test_a_rule_over_groups_needs_a_column_to_group_by() -> None:
    [(field, message)] = refusals(relations=[{"kind": "same_label", "group": []}])
    assert field == "task.relations.0.group"
    assert "all rows are one group" in message


def test_comparisons_need_no_column_to_group_by() -> None:
    relation = {"kind": "antisymmetric", "first": "a", "second": "b", "group": []}
    [read] = parse_config({"task": {"template": "{a}", "relations": [relation]}}).task.relations
    assert read.model_dump(exclude_none=True).items() >= {"kind": "antisymmetric", "first": "a", "second": "b"}.items()
