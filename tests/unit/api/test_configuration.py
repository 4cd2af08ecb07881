from dataclasses import fields
from typing import Any

import pytest

from api import job_config
from api.labelling.configuration import parse_config
from service.config import JobConfig, Limits, SearchConfig, Task
from service.errors import InvalidConfig
from service.search.state.objective import Objective


def faults_of(raw: Any) -> set[str | None]:
    with pytest.raises(InvalidConfig) as caught:
        parse_config(raw)
    return {fault.field for fault in caught.value.faults}


def test_defaults_are_filled_in() -> None:
    parsed = parse_config({"task": {"template": "{a}"}})
    assert (parsed.model, parsed.method, parsed.task.labels) == ("default", "icm", ["True", "False"])


def test_a_number_without_a_fraction_is_whole_however_it_is_written() -> None:
    parsed = parse_config({"task": {"template": "{a}"}, "search": {"folds": 8.0, "alpha": 7}})
    assert (parsed.search.folds, parsed.search.alpha) == (8, 7.0)


def test_a_label_longer_than_300_characters_is_refused_by_name() -> None:
    task = {"template": "{a}", "labels": ["x" * 300, "y" * 301, "z" * 3000]}
    assert faults_of({"task": task}) == {"task.labels.1", "task.labels.2"}
    with pytest.raises(InvalidConfig) as caught:
        parse_config({"task": task})
    assert "301 characters and may have 300" in caught.value.faults[0].message


def test_the_fault_of_an_unknown_field_of_pairs_lists_the_known_fields() -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config(with_pairs(pairs=[["1", "2"]], rules="x"))
    [fault] = caught.value.faults
    assert "did you mean 'rule'? The fields are: column, kind, label, pairs, rule" in fault.message


def with_pairs(**relation: Any) -> dict[str, Any]:
    return {"task": {"template": "{a}", "relations": [{"kind": "pairs", "rule": "same_label", **relation}]}}


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (None, None),
        ([], None),
        ({}, "task"),
        ({"task": {}}, "task.template"),
        ({"task": {"template": "{a}"}, "extra": 1}, "extra"),
        ({"task": {"template": "{a{b}}"}}, "task.template"),
        ({"task": {"template": "{a}", "labels": ["x"]}}, "task.labels"),
        ({"task": {"template": "{a}"}, "search": {"draws_per_row": 1e308}}, "search.draws_per_row"),
        ({"task": {"template": "{a}"}, "search": {"alpha": 1e7}}, "search.alpha"),
        ({"task": {"template": "{a}"}, "search": {"alpha": True}}, "search.alpha"),
        ({"task": {"template": "{a}"}, "search": {"folds": "8"}}, "search.folds"),
        ({"task": {"template": "{a}"}, "search": {"second_opinions": False}}, "search.second_opinions"),
        ({"task": {"template": "{a}"}, "search": {"exact_confidence": 1}}, "search.exact_confidence"),
        ({"task": {"template": "{a}"}, "search": {"restarts": 2**62}}, "search.restarts"),
        ({"task": {"template": "{a}", "labels": ["x", 3]}}, "task.labels.1"),
        ({"task": {"template": "{a}", "relations": [{"kind": "nonsense"}]}}, "task.relations.0"),
        ({"task": {"template": "{a}", "relations": [{"kind": "at_most_one"}]}}, "task.relations.0.group"),
        ({"task": {"template": "{a}", "relations": [{"kind": "same_label", "group": 3}]}}, "task.relations.0.group"),
        (
            {"task": {"template": "{a}", "relations": [{"kind": "antisymmetric", "first": "x"}]}},
            "task.relations.0.second",
        ),
        (with_pairs(), "task.relations.0.pairs"),
        (with_pairs(column="x", pairs=[["1", "2"]]), "task.relations.0.pairs"),
        (with_pairs(pairs=[["1", "2"]], relation="same_label"), "task.relations.0.relation"),
        (with_pairs(pairs=[["1", "2", "3"]]), "task.relations.0.pairs.0"),
        (with_pairs(pairs=[["1", "1"]]), "task.relations.0.pairs"),
        (with_pairs(pairs=[["1", "2"], ["2", "1"]]), "task.relations.0.pairs"),
        (with_pairs(rule="transitive", column="x"), "task.relations.0.rule"),
        (with_pairs(column="x", label="Perhaps"), "task"),
        ({"task": {"template": "{a}"}, "search": {"alpha": 0}}, "search.alpha"),
        ({"task": {"template": "{a}"}, "method": "guess"}, "method"),
    ],
)
def test_a_fault_names_the_field_as_users_write_it(raw: Any, field: str | None) -> None:
    assert faults_of(raw) == {field}


def test_all_faults_are_reported_at_once() -> None:
    assert faults_of({"model": 3, "task": {"template": ""}, "search": {"seed": "x"}}) == {
        "model",
        "task.template",
        "search.seed",
    }


def test_a_pair_of_a_row_with_itself_is_reported_by_name() -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config(with_pairs(pairs=[["1", "2"], ["7", "7"]]))
    assert "['7', '7']" in caught.value.faults[0].message


@pytest.mark.parametrize("kind", ["antisymmetric", "transitive"])
def test_gold_cannot_be_compared(kind: str) -> None:
    raw = {"template": "{a}", "gold_field": "g", "relations": [{"kind": kind, "first": "a", "second": "g"}]}
    assert faults_of({"task": raw}) == {"task"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"template": "{k}"}, "known_field 'k' must not stand in the template"),
        ({"relations": [{"kind": "same_label", "group": ["a", "k"]}]}, "known_field 'k' must not stand"),
        ({"relations": [{"kind": "pairs", "rule": "same_label", "column": "k"}]}, "known_field 'k' must not stand"),
        ({"gold_field": "k"}, "known_field and gold_field must differ; both are 'k'"),
        ({"id_field": "k"}, "known_field and id_field must differ; both are 'k'"),
    ],
)
def test_known_labels_have_a_column_of_their_own(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config({"task": {"template": "{a}", "known_field": "k", **changes}})
    assert [(fault.field, fault.message[: len(told)]) for fault in caught.value.faults] == [("task", told)]


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"true": 0.5}, "shares must name labels as they are written: 'true' is not one of"),
        ({"True": [0.7, 0.3]}, "shares must begin with the least: of 'True' they are [0.7, 0.3]"),
        ({"True": 0.6, "False": [0.5, 1]}, "shares must leave room for each other: at the least they come to 1.1"),
        ({"True": 0.6, "False": [0.1, 0.3]}, "shares must reach 1 where every label has one: at most they come to 0.9"),
    ],
)
def test_shares_that_cannot_be_met_are_reported(shares: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config({"task": {"template": "{a}", "shares": shares}})
    assert [(fault.field, fault.message[: len(told)]) for fault in caught.value.faults] == [("task", told)]


@pytest.mark.parametrize("share", [-0.1, 1.1, "0.5", True, None, [0.1], [0.1, 0.2, 0.3], [0.1, "x"], {}])
def test_a_share_is_a_number_from_0_to_1_or_two(share: Any) -> None:
    fields = faults_of({"task": {"template": "{a}", "shares": {"True": share}}})
    assert fields
    assert all(str(field).startswith("task.shares.True") for field in fields)


@pytest.mark.parametrize(
    "shares",
    [{}, {"True": 0.3}, {"True": 1, "False": 0}, {"True": [0.3, 0.7], "False": 0.4}, {"True": 0.1, "False": 0.9}],
)
def test_shares_are_numbers_or_ranges_and_stay_as_they_are(shares: dict[str, Any]) -> None:
    config = parse_config({"task": {"template": "{a}", "shares": shares}})
    assert config.as_json()["task"]["shares"] == shares
    assert parse_config(config.as_json()) == config


def test_shares_of_many_labels_may_add_up_to_nearly_1_as_floats_do() -> None:
    labels = [str(n) for n in range(10)]
    task = {"template": "{a}", "labels": labels, "shares": dict.fromkeys(labels, 0.1)}
    assert parse_config({"task": task}).task.share_ranges["3"] == (0.1, 0.1)


def test_gold_cannot_name_pairs() -> None:
    raw = with_pairs(column="g")
    assert faults_of({"task": {**raw["task"], "gold_field": "g"}}) == {"task"}


@pytest.mark.parametrize(
    ("search", "raises_gain"),
    [
        ({}, True),
        ({"objective": None}, True),
        ({"objective": "gain"}, True),
        ({"objective": "utility"}, False),
        ({"strategy": "folds", "objective": "gain"}, True),
        ({"strategy": "paper"}, False),
        ({"strategy": "authors", "objective": "utility"}, False),
    ],
)
def test_folds_raises_gain_unless_the_papers_utility_is_asked_for(search: dict[str, Any], *, raises_gain: bool) -> None:
    assert parse_config({"task": {"template": "{a}"}, "search": search}).search.raised is (
        Objective.GAIN if raises_gain else Objective.UTILITY
    )


@pytest.mark.parametrize("strategy", ["paper", "authors"])
def test_only_folds_can_raise_gain(strategy: str) -> None:
    raw = {"task": {"template": "{a}"}, "search": {"strategy": strategy, "objective": "gain"}}
    assert faults_of(raw) == {"search"}


@pytest.mark.parametrize(
    ("raw", "field", "told"),
    [
        (
            {"task": {"template": "{a}", "lables": []}},
            "task.lables",
            "did you mean 'labels'? The fields are:",
        ),
        ({"task": {"template": "{a}"}, "modle": "x"}, "modle", "did you mean 'model'?"),
        ({"task": {"template": "{a}"}, "labels": []}, "labels", "did you mean 'task.labels'?"),
        ({"task": {"template": "{a}"}, "search": {"qqq": 1}}, "search.qqq", "'qqq' here. The fields are: alpha"),
        (
            {"task": {"template": "{a}", "relations": [{"kind": "same_label", "group": "a", "grup": "b"}]}},
            "task.relations.0.grup",
            "did you mean 'group'? The fields are: distinct, group, kind, label",
        ),
        (
            {"task": {"template": "{a}", "relations": [{"kind": "same_label", "group": 5}]}},
            "task.relations.0.group",
            "must be text, in quotes, or a list, in square brackets",
        ),
        (
            {"task": {"template": "{a}", "shares": {"True": "50%"}}},
            "task.shares.True",
            "must be a number, or a list, in square brackets",
        ),
        ({"task": {}}, "task.template", "is missing"),
        ({"task": 5}, "task", "must be an object, in braces"),
        ({"task": {"template": 5}}, "task.template", "must be text, in quotes"),
        ({"task": {"template": "{a}", "labels": "x"}}, "task.labels", "must be a list, in square brackets"),
        ({"task": {"template": "{a}", "labels": ["x"]}}, "task.labels", "must have at least 2 members, and has 1"),
        ({"task": {"template": "{a}"}, "method": "guess"}, "method", "must be one of 'icm', 'zero_shot'"),
        ({"task": {"template": "{a}"}, "search": {"folds": "8"}}, "search.folds", "must be a whole number"),
        ({"task": {"template": "{a}"}, "search": {"alpha": -1}}, "search.alpha", "must be"),
        (
            {"task": {"template": "{a}", "relations": [{"kind": "x"}]}},
            "task.relations.0",
            "one of 'at_most_one'",
        ),
        ({"task": {"template": "{a}", "relations": [{}]}}, "task.relations.0", "must have a 'kind'"),
    ],
)
def test_faults_are_reported_in_words_of_the_configuration(raw: Any, field: str, told: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config(raw)
    [fault] = caught.value.faults
    assert fault.field == field
    assert told in fault.message
    assert not {"Input", "input", "String", "List", "valid"} & set(fault.message.split())


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"repair_rounds": 3}, "this parameter is gone: the search always tries up to 10 repairs per proposal"),
        ({"consistency": False}, "this parameter is gone: `bootstrap` always respects the relations; leave the"),
    ],
)
def test_the_fault_of_a_removed_parameter_gives_the_reason(search: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config({"task": {"template": "{a}"}, "search": search})
    [fault] = caught.value.faults
    assert fault.field == f"search.{next(iter(search))}"
    assert fault.message.startswith(told)


def test_a_configuration_as_an_earlier_release_has_answered_can_be_sent_again() -> None:
    config = parse_config({"task": {"template": "{a}"}, "search": {"seed": 3}})
    assert {"repair_rounds", "consistency"} < config.as_json()["search"].keys()
    assert parse_config(config.as_json()) == config


def test_whatever_can_be_asked_for_reaches_the_service_and_has_its_default() -> None:
    records = {"": JobConfig, "task": Task, "search": SearchConfig, "limits": Limits}
    for name, record in records.items():
        model = job_config.JobConfig if not name else job_config.JobConfig.model_fields[name].annotation
        assert model is not None
        left_out = job_config.GONE.keys() if name == "search" else set()
        assert {each.name for each in fields(record)} == model.model_fields.keys() | left_out
    assert parse_config({"task": {"template": "{a}"}}) == JobConfig(task=Task(template="{a}"))
