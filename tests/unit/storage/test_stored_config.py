"""Configurations are read as they were meant when they were stored, whichever release did that."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from api.labelling.configuration import parse_config
from api.schemas import JobBody
from api.training.bodies import TrainingBody
from service.config import EarlierResults, JobConfig, Limits, SearchConfig, Task
from service.errors import ConfigUnreadable
from service.identifiers import DatasetId, JobId
from service.presets import Preset
from service.records.jobs import Job, JobStatus
from service.records.trainings import Training
from service.relations.antisymmetric import AntisymmetricRelation
from service.search.state.objective import Objective
from service.storage import stored_config as stored
from service.storage.stored_config import read_config, read_training, read_training_spec, stored_training
from service.trainings.request import parse_request
from tests.golden.dump import Dump
from tests.golden.installation import DATABASES

NOW = datetime(2026, 11, 30, tzinfo=UTC)
TEMPLATE = {"template": "{a}"}
# As the release before versions stored it.
UNVERSIONED = """
{"name":"capitals","model":"default","preset":null,"task":{"template":"Is {a} larger than {b}? It is","labels":["Yes",
"No"],"all_spellings":false,"id_field":"id","gold_field":"gold","gold_values":{},"known_field":null,"shares":{"Yes":[0.4,
0.6],"No":0.5},"separator":"\\n\\n","relations":[{"first":"a","second":"b","group":null,"label":null,
"kind":"antisymmetric"}]},"method":"icm","earlier_results":"drop","search":{"strategy":"folds","objective":null,"seed":11,
"alpha":30.0,"normalization":"mean","seed_labels":8,"initial_temperature":10.0,"final_temperature":0.01,"cooling":0.99,
"draws_per_row":3.0,"repair_rounds":7,"folds":2,"restarts":2,"initial_rows":4,"sweeps":2,"rounds":4,"start":"anchor",
"batch_rows":256,"epochs":3,"learning_rate":0.002,"consistency":false,"exact_confidence":true,"max_demonstrations":null,
"anchor_rows":8,"second_opinions":2,"shard_rows":6},"limits":{"max_tokens_computed":null,"max_seconds":60.0}}
"""
SEARCH = SearchConfig(
    seed=11, draws_per_row=3.0, folds=2, restarts=2, initial_rows=4, sweeps=2, anchor_rows=8, shard_rows=6
)
TASK = Task(
    template="Is {a} larger than {b}? It is",
    labels=["Yes", "No"],
    id_field="id",
    gold_field="gold",
    relations=[AntisymmetricRelation(kind="antisymmetric", first="a", second="b")],
)


def test_jobs_of_the_first_release_are_read_as_they_were_meant_there() -> None:
    jobs = Dump.read(DATABASES / "v0.1" / "rows.jsonl").tables["jobs"]
    found = [read_config(job["config"]) for job in jobs]
    assert found == [JobConfig(task=TASK, search=replace(SEARCH, objective=Objective.UTILITY))] * 4


def test_a_configuration_stored_before_versions_and_one_stored_today_are_read_to_the_same() -> None:
    search = replace(SEARCH, alpha=30.0, repair_rounds=7, learning_rate=0.002, consistency=False)
    config = JobConfig(
        name="capitals",
        task=replace(TASK, shares={"Yes": (0.4, 0.6), "No": 0.5}),
        earlier_results=EarlierResults.DROP,
        search=search,
        limits=Limits(max_seconds=60.0),
    )
    today = stored.stored_config(config)
    assert today == {"version": 2, "reward": None, **orjson.loads(UNVERSIONED.replace("\n", ""))}
    assert read_config(today) == read_config(orjson.loads(UNVERSIONED.replace("\n", ""))) == config


@pytest.mark.parametrize("search", [{}, {"search": {}}, {"search": None}, {"search": {"strategy": "folds", "seed": 3}}])
def test_a_job_stored_before_the_objective_was_a_choice_goes_on_raising_utility(search: dict[str, Any]) -> None:
    found = read_config({"task": TEMPLATE, **search}).search
    assert found.objective is Objective.UTILITY
    assert found.seed == (search.get("search") or {}).get("seed", 0)


@pytest.mark.parametrize("objective", [None, Objective.GAIN, Objective.UTILITY])
@pytest.mark.parametrize("version", [1, 2])
def test_a_stored_job_keeps_the_objective_it_was_stored_with(objective: Objective | None, version: int) -> None:
    config = parse_config({"task": TEMPLATE, "search": {"objective": objective}})
    assert read_config({**stored.stored_config(config), "version": version}) == config


@pytest.mark.parametrize("preset", Preset)
def test_what_a_preset_has_filled_in_is_read_back_from_what_was_stored(preset: Preset) -> None:
    config = parse_config({"preset": preset.value})
    values = stored.stored_config(config)
    values["task"]["separator"] = "\n"
    assert read_config(values) == replace(config, task=replace(config.task, separator="\n"))


def test_a_field_that_this_release_does_not_have_is_passed_over_wherever_it_stands() -> None:
    config = parse_config({"task": {**TEMPLATE, "relations": [{"kind": "same_label", "group": "g"}]}})
    values = stored.stored_config(config)
    parts = (values, values["search"], values["task"], values["limits"], values["task"]["relations"][0])
    for part in parts:
        part["gone"] = {"of": "another release"}
    assert read_config(values) == config


@pytest.mark.parametrize("version", stored._MISSING)
def test_every_version_says_what_a_missing_field_was(version: int) -> None:
    """So no default of new jobs is ever asked for, and one that changes changes no stored job."""
    values = stored._MISSING[version]
    for record, part in ((JobConfig, values), (SearchConfig, values["search"]), (Limits, values["limits"])):
        assert {each.name for each in fields(record)} == part.keys()
    assert {each.name for each in fields(Task)} == values["task"].keys() | {"template"}
    assert {each.name for each in fields(JobConfig)} == stored.stored_config(read_config({"task": TEMPLATE})).keys() - {
        "version"
    }


def test_a_default_that_changes_for_new_jobs_changes_no_stored_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_config({"version": 2, "task": TEMPLATE})
    for record, changed in ((SearchConfig, {"folds": 99}), (Limits, {"max_seconds": 1.0})):
        defaults = {**(record.__init__.__kwdefaults__ or {}), **changed}
        monkeypatch.setattr(record.__init__, "__kwdefaults__", defaults)
    assert (SearchConfig().folds, Limits().max_seconds) == (99, 1.0)
    assert read_config({"version": 2, "task": TEMPLATE}) == before


@pytest.mark.parametrize("read", [read_config, read_training, read_training_spec])
@pytest.mark.parametrize("version", [3, "next", None])
def test_a_form_of_a_later_release_is_one_fault(read: Any, version: object) -> None:
    with pytest.raises(ConfigUnreadable, match=rf"a later release stored this configuration, in form {version}, and"):
        read({"version": version, "task": {"of": "another shape"}})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"task": TEMPLATE, "search": {"strategy": "tabu"}}, "stored 'tabu' as strategy"),
        ({"task": TEMPLATE, "method": "guess"}, "stored 'guess' as method"),
        ({"task": TEMPLATE, "preset": "mnli"}, "stored 'mnli' as preset"),
        ({"task": {**TEMPLATE, "relations": [{"kind": "cyclic"}]}}, "stored something as task.relations.0"),
        ({"task": {}}, "stored without template"),
    ],
)
def test_the_fault_of_an_unknown_choice_names_its_field(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigUnreadable, match=told):
        read_config(values)


def test_a_stored_job_beyond_the_limits_of_new_ones_is_read_and_shown_as_it_is() -> None:
    labels = ["x" * 3000, "y", " z "]
    config = read_config({"task": {**TEMPLATE, "labels": labels}, "search": {"folds": 1_000, "alpha": -1.0}})
    job = Job(id=JobId("job_1"), dataset_id=DatasetId("ds_1"), config=config, created_at=NOW)
    shown = orjson.loads(JobBody.model_validate(job).model_dump_json())["config"]
    assert shown["task"]["labels"] == labels
    assert (shown["search"]["folds"], shown["search"]["alpha"]) == (1_000, -1.0)


def test_a_stored_training_keeps_what_it_was_asked_for_and_has_what_was_missing() -> None:
    asked = parse_request({"job_ids": ["job_1"], "epochs": 7, "rows": {"min_confidence": 0.9}}).model_dump(mode="json")
    assert read_training(stored_training(asked)) == read_training(asked) == asked
    early = {"job_ids": ["job_1"], "rows": {"holdout": 0.2, "gone": 1}, "gone": 1}
    filled = parse_request({"job_ids": ["job_1"], "rows": {"holdout": 0.2}}).model_dump(mode="json")
    assert read_training(early) == filled


def test_a_stored_training_beyond_the_limits_of_new_ones_is_shown_as_it_is() -> None:
    config = read_training({"job_ids": ["job_1"], "epochs": 10**6, "kind": "of another release"})
    training = Training(
        id=JobId("train_1"),
        config=config,
        base="default",
        rows=2,
        status=JobStatus.QUEUED,
        created_at=NOW,
        started_at=None,
        finished_at=None,
        error=None,
        warnings=(),
        progress={},
        artifact=None,
    )
    shown = orjson.loads(TrainingBody.model_validate(training).model_dump_json())["config"]
    assert (shown["epochs"], shown["kind"]) == (10**6, "of another release")


def test_the_specification_of_a_training_is_read_without_its_version() -> None:
    spec = {"kind": "label", "epochs": 3}
    assert read_training_spec(stored_training(spec)) == read_training_spec(spec) == spec
