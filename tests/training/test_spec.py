"""Specifications are checked field by field, and faults reported in their own words."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from service.records.training_kinds import TrainingKind
from service.trainings.create import spec_of
from service.trainings.request import RowWeights, TrainingControl, TrainingMethod, parse_request
from service.trainings.rows import STEP_PROMPTS
from training.errors import Refused
from training.spec import Control, Kind, Method, PolicySettings, Weights, read_spec

LEAST: dict[str, Any] = {"base": "some/model", "examples": "rows.jsonl", "labels": ["yes", "no"]}


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.json"
    path.write_text(text, "utf-8")
    return path


def test_missing_fields_have_defaults(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, json.dumps(LEAST)))
    assert (spec.kind, spec.method, spec.epochs, spec.rank, spec.scale) == (Kind.LABEL, Method.LORA, 3, 16, 32)
    assert spec.rate == 1e-3
    assert read_spec(written(tmp_path, json.dumps({**LEAST, "method": "full"}))).rate == 1e-5
    assert read_spec(written(tmp_path, json.dumps({**LEAST, "learning_rate": 0.5}))).rate == 0.5


@pytest.mark.parametrize(
    ("offered", "trained"),
    [(TrainingKind, Kind), (TrainingMethod, Method), (RowWeights, Weights), (TrainingControl, Control)],
)
def test_the_service_offers_what_the_command_trains(offered: type[StrEnum], trained: type[StrEnum]) -> None:
    assert [choice.value for choice in offered] == [choice.value for choice in trained]


def test_empty_spellings_are_left_out_of_the_identity(tmp_path: Path) -> None:
    told = read_spec(written(tmp_path, json.dumps({**LEAST, "spellings": [[" YES"], []]}))).without_folders
    assert told["spellings"] == [[" YES"], []]
    assert "spellings" not in read_spec(written(tmp_path, json.dumps(LEAST))).without_folders


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"base": ""}, "base: must not be empty"),
        ({"labels": ["yes"]}, "labels: at least two are needed"),
        ({"labels": ["yes", "yes"]}, "labels: each may stand there once"),
        ({"labels": "yes"}, "labels: must be a list, in square brackets"),
        ({"epochs": 0}, "epochs: must be greater than or equal to 1"),
        ({"epochs": "many"}, "epochs: must be a whole number"),
        ({"learning_rate": "fast"}, "learning_rate: must be a number"),
        ({"base": 5}, "base: must be text"),
        ({"learning_rate": 2}, "learning_rate: must be less than 1"),
        ({"method": "qlora"}, "method: must be 'lora' or 'full'"),
        ({"controls": ["shuffled", "shuffled"]}, "controls: each may stand there once"),
        ({"controls": ["upside down"]}, "controls.0: must be 'shuffled', 'inverted', 'gold' or 'noise'"),
        ({"rnak": 3}, "rnak: there is no such field; the fields are base, kind, examples"),
        ({"batch_rows": 8, "rows_at_once": 3}, "rows_at_once: must divide batch_rows"),
        ({"holdout": 1}, "holdout: must be less than or equal to 0.9"),
        ({"kind": "reward"}, "leave labels, separator and spellings out for kind reward"),
        ({"spellings": [["YES"]]}, "spellings: must have a list for each of the 2 labels, and has 1"),
        ({"spellings": [["YES"], [""]]}, "spellings.1.0: must not be empty"),
        ({"kind": "reward", "labels": [], "controls": ["inverted"]}, "controls: inverted says nothing for kind reward"),
    ],
)
def test_a_fault_names_its_field(fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        read_spec(written(tmp_path, json.dumps({**LEAST, **fields})))
    assert told in str(refused.value)
    assert not {"Input", "pydantic", "validation", "tuple", "valid"} & set(str(refused.value).split())


def test_a_policy_asked_of_the_service_has_the_commands_names_and_defaults(tmp_path: Path) -> None:
    request = parse_request({"job_ids": ["job_1"], "kind": "policy", "policy": {"reward": "train_1"}})
    told = {**spec_of(request, ()), "base": "some/model", "examples": "rows.jsonl"}
    spec = read_spec(written(tmp_path, json.dumps(told)))
    assert spec.policy == PolicySettings(reward="train_1")
    assert (spec.kind, spec.batch_rows) == (Kind.POLICY, STEP_PROMPTS)


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"base: is missing; .*rank: must be"):
        read_spec(written(tmp_path, json.dumps({"examples": "a", "labels": ["a", "b"], "rank": -1})))


@pytest.mark.parametrize(
    ("text", "told"), [("{", "it is not JSON"), ("[]", "it: must be a JSON object"), ("\udcff", "not UTF-8 text")]
)
def test_a_file_that_is_no_specification_is_reported(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Refused, match=told):
        read_spec(path)


def test_a_missing_specification_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read: no such file"):
        read_spec(tmp_path / "none.json")
