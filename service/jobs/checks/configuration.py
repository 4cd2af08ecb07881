"""Reads a job's configuration and says field by field what is wrong with it."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.config import MAX_LABEL_CHARACTERS, JobConfig
from service.errors import Fault, InvalidConfig
from service.jobs.checks.plain_words import sentence, unknown_field
from service.jobs.checks.task_faults import task_faults


def parse_config(raw: Any) -> JobConfig:
    """The configuration of a new job in this JSON value. Raises InvalidConfig with a dotted field for every fault."""
    config = _validated(raw)
    if faults := list(task_faults(config.task)):
        raise InvalidConfig("the configuration cannot be used", faults)
    return config


def _validated(raw: Any) -> JobConfig:
    """What every configuration must fulfil, new or stored. Raises InvalidConfig."""
    try:
        config = JobConfig.model_validate(raw)
    except ValidationError as error:
        faults = [
            Fault(_told(found), field=_dotted(found["loc"], raw) or None)
            for found in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidConfig("the configuration cannot be used", list(dict.fromkeys(faults))) from error
    _check_label_lengths(config)
    return config


def _check_label_lengths(config: JobConfig) -> None:
    """Jobs that are stored may have longer ones. Raises InvalidConfig."""
    faults = [
        Fault(
            f"the label has {len(label)} characters and may have {MAX_LABEL_CHARACTERS}; "
            "take a short name for it and say in the template what it means",
            field=f"task.labels.{number}",
        )
        for number, label in enumerate(config.task.labels)
        if len(label) > MAX_LABEL_CHARACTERS
    ]
    if faults:
        raise InvalidConfig("the configuration cannot be used", faults)


def _told(found: ErrorDetails) -> str:
    if found["type"] == "extra_forbidden":
        return unknown_field(found["loc"], JobConfig)
    return sentence(found["type"], found["msg"], found.get("ctx", {}))


def _dotted(location: Sequence[str | int], raw: Any) -> str:
    """The path users wrote, without the names that pydantic puts in for the members of a union."""
    path: list[str] = []
    value = raw
    for depth, part in enumerate(location):
        last = depth == len(location) - 1
        if isinstance(value, dict) and (part in value or last):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            continue
        path.append(str(part))
    return ".".join(path)
