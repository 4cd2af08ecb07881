"""Parses and checks the configuration of a new job, and reports its faults by field."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from api import job_config
from api.job_config import GONE, MAX_LABEL_CHARACTERS
from service.config import JobConfig
from service.errors import Fault, InvalidConfig
from service.jobs.checks.plain_words import sentence, unknown_field
from service.jobs.checks.reward_models import reward_faults
from service.jobs.checks.task_faults import task_faults

_WRONG = "the configuration cannot be used"


def parse_config(raw: Any) -> JobConfig:
    """Parse the configuration of a new job. Raises InvalidConfig with the dotted name of each faulty field."""
    config = _validated(raw)
    if faults := [*_long_labels(config), *task_faults(config.task), *reward_faults(config)]:
        raise InvalidConfig(_WRONG, faults)
    return config


def _validated(raw: Any) -> JobConfig:
    """The configuration, with each field checked against its schema. Raises InvalidConfig."""
    try:
        return job_config.JobConfig.model_validate(raw).checked()
    except ValidationError as error:
        messages: dict[str, list[str]] = {}
        for found in error.errors(include_url=False, include_input=False):
            messages.setdefault(_dotted(found["loc"], raw), []).append(_message(found))
        faults = [Fault(_joined(said), field=field or None) for field, said in messages.items()]
        raise InvalidConfig(_WRONG, faults) from error


def _joined(messages: Sequence[str]) -> str:
    """One message about a field; pydantic has one for each form that the field may take."""
    first, *others = dict.fromkeys(messages)
    return ", or ".join([first, *(other.removeprefix("must be ") for other in others)])


def _long_labels(config: JobConfig) -> list[Fault]:
    """The faults of labels that are too long."""
    return [
        Fault(
            f"the label has {len(label)} characters and may have {MAX_LABEL_CHARACTERS}; "
            "take a short name for it and say in the template what it means",
            field=f"task.labels.{number}",
        )
        for number, label in enumerate(config.task.labels)
        if len(label) > MAX_LABEL_CHARACTERS
    ]


def _message(found: ErrorDetails) -> str:
    if found["type"] == "extra_forbidden" and found["loc"][:-1] == ("search",) and found["loc"][-1] in GONE:
        return f"this parameter is gone: {GONE[str(found['loc'][-1])]}; take it out"
    if found["type"] == "extra_forbidden":
        return unknown_field(found["loc"], job_config.JobConfig)
    return sentence(found["type"], found["msg"], found.get("ctx", {}))


def _dotted(location: Sequence[str | int], raw: Any) -> str:
    """The path that the user wrote, without the parts that pydantic adds for members of a union."""
    path: list[str] = []
    value = raw
    for depth, part in enumerate(location):
        last = depth == len(location) - 1
        if isinstance(value, dict) and value.get("kind") == part and isinstance(location[depth - 1], int) and not last:
            continue  # the kind of a relation, which may also be the name of its field
        if isinstance(value, dict) and (part in value or last):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            continue
        path.append(str(part))
    return ".".join(path)
