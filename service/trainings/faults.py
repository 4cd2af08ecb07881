"""What is wrong with a request, in plain words under dotted fields."""

from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from service.errors import Fault
from service.jobs.checks.plain_words import sentence, unknown_field


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Each fault of a request once, under its field; `model` is the request's own."""
    faults = []
    for found in error.errors(include_url=False, include_input=False):
        told = sentence(found["type"], found["msg"], found.get("ctx", {}))
        if found["type"] == "extra_forbidden":
            told = unknown_field(found["loc"], model)
        faults.append(_fault(told, found["loc"], model))
    return list(dict.fromkeys(faults))


def _fault(told: str, location: Sequence[str | int], model: type[BaseModel]) -> Fault:
    """The fault under its field; what speaks of several fields at once begins with the one to change."""
    field = ".".join(map(str, location))
    named, colon, rest = told.partition(": ")
    if not field and colon and named.partition(".")[0] in model.model_fields:
        return Fault(rest, field=named)
    return Fault(told, field=field or None)
