"""Translates pydantic's validation errors to plain messages in JSON's terms, for users."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from service.values import counted, nearest

_PREFIX = "Value error, "
_SENTENCES = {
    "missing": "is missing",
    "string_type": "must be text, in quotes",
    "list_type": "must be a list, in square brackets",
    "tuple_type": "must be a list, in square brackets",
    "dict_type": "must be an object, in braces",
    "model_type": "must be an object, in braces",
    "model_attributes_type": "must be an object, in braces",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number that is finite",
    "string_too_short": "must have at least {min_length:character}",
    "string_too_long": "must have at most {max_length:character}",
    "too_short": "must have at least {min_length:member}, and has {actual_length}",
    "too_long": "must have at most {max_length:member}, and has {actual_length}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
    "union_tag_invalid": "must have a {discriminator} that is one of {expected_tags}",
    "union_tag_not_found": "must have a {discriminator}",
}


def sentence(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """The message for an error by pydantic's name for it; pydantic's own message if there is no better one."""
    pattern = _SENTENCES.get(kind)
    if pattern is None:
        return message.removeprefix(_PREFIX)
    return pattern.format_map(
        {name: _Number(value) if type(value) is int else value for name, value in context.items()}
    )


class _Number(int):
    """A number that a pattern may write with a noun, as in {min_length:member}."""

    def __format__(self, noun: str) -> str:
        return counted(int(self), noun) if noun else str(int(self))


def unknown_field(location: Sequence[str | int], model: type[BaseModel]) -> str:
    """The message for an unknown field, with the most similar name, if there is one, and all valid names."""
    name = str(location[-1])
    names = sorted({known for found in _models_at(location[:-1], model) for known in found.model_fields})
    near = nearest(name, names)
    near = near or [path for path in _paths(model) if path.rpartition(".")[2] == name]
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return f"there is no field {name!r} here{meant} The fields are: {', '.join(names)}"


def _models_at(location: Sequence[str | int], model: type[BaseModel]) -> list[type[BaseModel]]:
    """The models that are valid at this path; a relation's kind, which pydantic adds to the path, selects one."""
    models = [model]
    for part in location:
        chosen = [found for found in models if part in _kinds(found)] if len(models) > 1 else []
        fields = [found.model_fields[part] for found in models if isinstance(part, str) and part in found.model_fields]
        if chosen:  # before the fields: the kind `pairs` has a field of that name
            models = chosen
        elif fields:
            models = [inner for field in fields for inner in _models_in(field.annotation)]
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return () if field is None else tuple(map(str, get_args(field.annotation)))


def _paths(model: type[BaseModel]) -> Iterator[str]:
    """The dotted names of all fields of the objects in this one."""
    for name, field in model.model_fields.items():
        yield name
        for inner in _models_in(field.annotation):
            yield from (f"{name}.{known}" for known in inner.model_fields)
