"""Parses and checks the configuration of a new job, and reports its faults by field."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.config import MAX_LABEL_CHARACTERS, JobConfig
from service.errors import Fault, InvalidConfig
from service.jobs.checks.plain_words import sentence, unknown_field
from service.jobs.checks.reward_models import reward_faults
from service.jobs.checks.task_faults import task_faults


def parse_config(raw: Any) -> JobConfig:
    """Parse the configuration of a new job. Raises InvalidConfig with the dotted name of each faulty field."""
    config = _validated(raw)
    if faults := [*task_faults(config.task), *reward_faults(config)]:
        raise InvalidConfig("the configuration cannot be used", faults)
    return config


def _validated(raw: Any) -> JobConfig:
    """Check what holds for every configuration, new or stored, and the length of labels. Raises InvalidConfig."""
    try:
        config = JobConfig.model_validate(raw)
    except ValidationError as error:
        faults = [
            Fault(_message(found), field=_dotted(found["loc"], raw) or None)
            for found in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidConfig("the configuration cannot be used", list(dict.fromkeys(faults))) from error
    _check_label_lengths(config)
    return config


def _check_label_lengths(config: JobConfig) -> None:
    """Check the labels' length, which stored jobs may exceed. Raises InvalidConfig."""
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


def _message(found: ErrorDetails) -> str:
    if found["type"] == "extra_forbidden":
        return unknown_field(found["loc"], JobConfig)
    return sentence(found["type"], found["msg"], found.get("ctx", {}))


def _dotted(location: Sequence[str | int], raw: Any) -> str:
    """The path that the user wrote, without the parts that pydantic adds for members of a union."""
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
