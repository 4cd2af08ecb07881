"""Guesses, for messages, the cause where rows lack a column that the task reads."""

import unicodedata
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from service.config import Task
from service.jobs.task.label_names import without_invisible
from service.placeholders import template_fields
from service.values import nearest

_NO_COLUMNS = {"kind", "rule", "label", "pairs"}  # fields of relations
_PARTS_OF_NAMES = "_-.' "  # signs within names of columns, which separate no cells


def places_of(task: Task, column: str) -> list[str]:
    """The fields of the configuration that name a column, such as `task.known_field`."""
    named = {name: getattr(task, name) for name in ("id_field", "gold_field", "known_field")}
    places = ["task.template"] if column in template_fields(task.template) else []
    places += [f"task.{name}" for name, value in named.items() if value == column]
    for number, relation in enumerate(task.relations):
        fields = relation.model_dump() if column in relation.columns else {}
        places += [f"task.relations.{number}.{name}" for name, value in fields.items() if _names(name, value, column)]
    return places


def _names(field: str, value: object, column: str) -> bool:
    """Whether this field of a relation names the column; its other fields hold kinds, labels and ids."""
    if field in _NO_COLUMNS:
        return False
    return value == column or (isinstance(value, list | tuple) and column in value)


def meant_column(field: str, columns: Collection[str]) -> str:
    """Advice on a field that is none of the columns, in parentheses; empty if there is none."""
    if field.isdigit():
        return " (a template names a column by its name, not by its place)"
    if any(_looks(field) == _looks(column) for column in columns):
        return " (a column's name looks the same and has other characters: copy the name from the file)"
    near = nearest(field, columns)
    if near and ("{" in near[0] or "}" in near[0]):
        return f" (a template cannot name {near[0]!r}, since braces stand for columns: rename that column)"
    if near:
        return f" (did you mean {near[0]!r}?)"
    if len(columns) == 1 and (sign := next(_separators(field, *columns), "")):
        return f" ({sign!r} seems to separate the cells: put commas there, and take out a first line such as sep=;)"
    return ""


def other_spelling(field: str, names: Collection[str]) -> str:
    """The row's own spelling of a field that it lacks, in parentheses; empty without one."""
    same = [name for name in names if name.strip().casefold() == field.strip().casefold()]
    return f" (this row has {same[0]!r})" if same else ""


def other_layout(only_row: Mapping[str, Any] | None) -> str:
    """Advice on a table that is one object, whose columns or rows are lists or objects; empty for others."""
    if not only_row:
        return ""
    lists = [name for name, value in only_row.items() if _has_objects(value)]
    if lists:
        return "".join(f"; if the rows are the list {name!r}, send that list alone" for name in lists)
    if not any(isinstance(value, list | dict) and value for value in only_row.values()):
        return ""
    return "; this looks like one object for a whole table: write an object for each row (pandas: orient='records')"


def _looks(name: str) -> str:
    """A form that is equal for names that look the same to a reader, other than by white space."""
    return unicodedata.normalize("NFC", without_invisible(name))


def _separators(field: str, column: str) -> Iterator[str]:
    """The signs that divide this name of a column into cells of which the field is one."""
    for sign in dict.fromkeys(column):
        if not sign.isalnum() and sign not in _PARTS_OF_NAMES and field in map(str.strip, column.split(sign)):
            yield sign


def _has_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
