"""Words the faults of a request plainly, each under its dotted field."""

from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from service.errors import Fault
from service.jobs.checks.plain_words import sentence, unknown_field


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Each fault of a request once, under its field; `model` is the class of the request."""
    faults = []
    for found in error.errors(include_url=False, include_input=False):
        message = sentence(found["type"], found["msg"], found.get("ctx", {}))
        if found["type"] == "extra_forbidden":
            message = unknown_field(found["loc"], model)
        faults.append(_fault(message, found["loc"], model))
    return list(dict.fromkeys(faults))


def _fault(message: str, location: Sequence[str | int], model: type[BaseModel]) -> Fault:
    """The fault under its field; a message about several fields begins with the name of the one to change."""
    field = ".".join(map(str, location))
    named, colon, rest = message.partition(": ")
    if not field and colon and named.partition(".")[0] in model.model_fields:
        return Fault(rest, field=named)
    return Fault(message, field=field or None)
