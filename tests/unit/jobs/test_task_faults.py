from typing import Any

import pytest

from service.errors import InvalidConfig
from service.jobs.configuration import parse_config


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


@pytest.mark.parametrize("end", [" ", "\n", "\t", "\u00a0", " \n "])
def test_a_template_that_ends_with_white_space_is_refused_since_a_space_is_put_before_the_label(end: str) -> None:
    [(field, message)] = refusals(template=f"{{a}}\nAnswer:{end}")
    assert field == "task.template"
    assert "must not end with white space" in message
