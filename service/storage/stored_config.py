"""Writes and reads the configurations of jobs and trainings that the database keeps, with a version.

Reading ignores fields that this release does not know. A missing field gets the default of that version, which this
module states literally, so that a new default for new jobs changes no stored job. If you rename a field, or change its
meaning, raise the version and convert older values here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from service.config import EarlierResults, JobConfig, Limits, Normalization, SearchConfig, Task
from service.errors import ConfigUnreadable
from service.presets import Preset
from service.relations.registry import AnyKind, Relation
from service.search.state.objective import Objective
from service.search.state.problem import Start
from service.search.strategies.registry import Method, StrategyName
from service.trainings.request import RowSelection, TrainingRequest

Record = TypeVar("Record")
Member = TypeVar("Member", bound=StrEnum)
Values = Mapping[str, Any]

VERSION = 2
_UNVERSIONED = 1  # the version of configurations stored without one
_RELATIONS = TypeAdapter[list[AnyKind]](list[Relation])

_TASK: Values = {
    "labels": ["True", "False"],
    "all_spellings": False,
    "id_field": None,
    "gold_field": None,
    "gold_values": {},
    "known_field": None,
    "shares": {},
    "separator": "\n\n",
    "relations": [],
}
_SEARCH: Values = {
    "strategy": "folds",
    "objective": None,
    "seed": 0,
    "alpha": 50.0,
    "normalization": "mean",
    "seed_labels": 8,
    "initial_temperature": 10.0,
    "final_temperature": 0.01,
    "cooling": 0.99,
    "draws_per_row": 5.0,
    "repair_rounds": 10,
    "folds": 4,
    "restarts": 4,
    "initial_rows": 24,
    "sweeps": 5,
    "rounds": 4,
    "start": "anchor",
    "batch_rows": 256,
    "epochs": 3,
    "learning_rate": None,
    "consistency": True,
    "exact_confidence": True,
    "max_demonstrations": None,
    "anchor_rows": 128,
    "second_opinions": 2,
    "shard_rows": 256,
}
_JOB: Values = {
    "name": "",
    "model": "default",
    "preset": None,
    "task": _TASK,
    "method": "icm",
    "reward": None,
    "earlier_results": "refuse",
    "search": _SEARCH,
    "limits": {"max_tokens_computed": None, "max_seconds": None},
}
# Defaults of missing fields by version. Before the objective was a choice, searches maximised the utility.
_MISSING: Mapping[int, Values] = {1: {**_JOB, "search": {**_SEARCH, "objective": "utility"}}, 2: _JOB}

_MODEL_JOBS = "model_jobs"  # beside the configuration of a training
_TRAINING_VERSION = 1
_TRAINING: Mapping[int, Values] = {
    1: {
        "kind": "label",
        "base": None,
        "method": "lora",
        "rank": 16,
        "epochs": 3,
        "learning_rate": None,
        "rows": {"min_confidence": 0.0, "statuses": ["labeled"], "holdout": 0.1, "weights": "none"},
        "controls": [],
        "seed": 0,
        "policy": None,
        "force": False,
    }
}


def stored_config(config: JobConfig) -> dict[str, Any]:
    """The configuration as JSON that `read_config` of this release and later ones reads."""
    return {"version": VERSION, **config.as_json()}


def read_config(stored: Values) -> JobConfig:
    """A job's configuration as this or an earlier release stored it. Raises ConfigUnreadable."""
    values = _filled(stored, _of_version(stored, _MISSING))
    return _record(
        JobConfig,
        values,
        preset=_optional(Preset, values, "preset"),
        task=_task(values["task"]),
        method=_member(Method, values, "method"),
        earlier_results=_member(EarlierResults, values, "earlier_results"),
        search=_search(values["search"]),
        limits=_record(Limits, values["limits"]),
    )


def stored_training(config: Values) -> dict[str, Any]:
    """A training's configuration, or the specification for its command, with the version of its form."""
    return {"version": _TRAINING_VERSION, **config}


def stored_request(config: Values, model_jobs: Values) -> dict[str, Any]:
    """A training's configuration with the jobs that its reward models learned from, which may be deleted before it."""
    return stored_training(config) | ({_MODEL_JOBS: model_jobs} if model_jobs else {})


def read_model_jobs(stored: Values) -> dict[str, tuple[str, ...]]:
    """The jobs that a training's reward models learned from; empty as earlier releases stored it."""
    return {field: tuple(job_ids) for field, job_ids in (stored.get(_MODEL_JOBS) or {}).items()}


def read_training(stored: Values) -> dict[str, Any]:
    """A training's configuration with every field, as this or an earlier release stored it. Raises ConfigUnreadable."""
    values = _filled(stored, _of_version(stored, _TRAINING))
    rows = _only(values["rows"], RowSelection.model_fields)
    return {**_only(values, TrainingRequest.model_fields), "rows": rows}


def read_training_spec(stored: Values) -> dict[str, Any]:
    """The specification for a training's command as it was stored. Raises ConfigUnreadable."""
    _of_version(stored, _TRAINING)
    return {name: value for name, value in stored.items() if name != "version"}


def _of_version(stored: Values, missing: Mapping[int, Values]) -> Values:
    """The defaults in the version of these values. Raises ConfigUnreadable."""
    version = stored.get("version", _UNVERSIONED)
    if version not in missing:
        raise ConfigUnreadable(
            f"a later release stored this configuration, in form {version}, and this release reads forms up to "
            f"{max(missing)}: it needs that release, or a later one"
        )
    return missing[version]


def _filled(stored: Values, missing: Values) -> dict[str, Any]:
    """The stored values, with defaults for missing ones; nested objects are filled field by field."""
    filled = {**missing, **stored}
    parts = {name: part for name, part in missing.items() if isinstance(part, Mapping) and part}
    return filled | {name: {**part, **(filled[name] or {})} for name, part in parts.items()}


def _task(values: Values) -> Task:
    shares = {name: tuple(share) if isinstance(share, list) else share for name, share in values["shares"].items()}
    return _record(Task, values, shares=shares, relations=_relations(values["relations"]))


def _relations(stored: object) -> list[AnyKind]:
    try:
        return _RELATIONS.validate_python(stored, extra="ignore")
    except ValidationError as error:
        places = {".".join(map(str, ("task", "relations", *found["loc"]))) for found in error.errors()}
        raise _unreadable(", ".join(sorted(places)), "something") from error


def _search(values: Values) -> SearchConfig:
    return _record(
        SearchConfig,
        values,
        strategy=_member(StrategyName, values, "strategy"),
        objective=_optional(Objective, values, "objective"),
        normalization=_member(Normalization, values, "normalization"),
        start=_member(Start, values, "start"),
    )


def _member(kind: type[Member], values: Values, name: str) -> Member:
    try:
        return kind(values[name])
    except ValueError as error:
        raise _unreadable(name, repr(values[name])) from error


def _optional(kind: type[Member], values: Values, name: str) -> Member | None:
    return None if values[name] is None else _member(kind, values, name)


def _unreadable(field: str, value: str) -> ConfigUnreadable:
    return ConfigUnreadable(
        f"another release stored {value} as {field} in this configuration, which this release does not know: it needs "
        "a release that does"
    )


def _only(values: Values, names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _record(kind: type[Record], values: Values, **parts: object) -> Record:
    """Make a record of the values named like its fields, and of these parts. Raises ConfigUnreadable."""
    names = [field.name for field in fields(kind) if field.name not in parts]  # type: ignore[arg-type]  # all are dataclasses
    if absent := [name for name in names if name not in values]:
        raise ConfigUnreadable(f"this configuration was stored without {', '.join(absent)}")
    return kind(**{name: values[name] for name in names}, **parts)
