"""Reads the values and ids that a relation needs from the columns of a row."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from service.values import as_text, is_blank

Fields = Mapping[str, Any]  # one row: value by column
Key = tuple[Hashable, ...]  # equal for rows that belong together
Columns = Annotated[str | list[str], Field(description="one column or several")]


class UnusableValue(ValueError):
    """A column of a relation holds a list or an object, which the relation cannot use."""

    def __init__(self, field: str, needed: str = "a relation needs text, a number or true/false") -> None:
        super().__init__(f"field {field!r} holds a list or an object; {needed}")
        self.field = field


def names_of(columns: str | Sequence[str] | None) -> tuple[str, ...]:
    """The columns as a tuple, given one column, several or none."""
    return () if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)


def values_of(columns: str | Sequence[str] | None, row: Fields) -> Key:
    """The values of the columns, equal for equal cells. Raises UnusableValue."""
    return tuple(value_of(name, row) for name in names_of(columns))


def value_of(column: str, row: Fields) -> Hashable:
    """The column's value, equal for equal cells. Raises UnusableValue."""
    value = row[column]
    if isinstance(value, list | dict):
        raise UnusableValue(column)
    return _text_of_number(value) if isinstance(value, int | float) else value


def references(column: str, row: Fields) -> list[str]:
    """The ids of other rows in the column; none if it is null or blank. Raises UnusableValue."""
    value = row[column]
    ids = value if isinstance(value, list) else [value]
    if isinstance(value, dict) or any(isinstance(item, list | dict) for item in ids):
        raise UnusableValue(column, "it must hold the id of a row, a list of ids, or null")
    return [as_text(item) for item in ids if not is_blank(item)]


def _text_of_number(value: float) -> tuple[str, str]:
    """A key for a number, equal for equal numbers; true and false differ from 1 and 0.

    The key is text, since Python's hash of a number is predictable: an attacker could send a million numbers that
    collide in a dictionary and take hours. The hash of text differs in each process.
    """
    if isinstance(value, bool):
        return "bool", str(value)
    is_whole = isinstance(value, int) or value.is_integer()
    return "number", hex(int(value)) if is_whole else value.hex()
