"""Reads the columns of a relation."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from service.values import as_text, is_blank

Fields = Mapping[str, Any]  # one row
Key = tuple[Hashable, ...]  # what rows have in common that belong together
Columns = Annotated[str | list[str], Field(description="one column or several")]


class UnusableValue(ValueError):
    """A column that a relation reads holds a list or an object where it must not."""

    def __init__(self, field: str, needed: str = "a relation needs text, a number or true/false") -> None:
        super().__init__(f"field {field!r} holds a list or an object; {needed}")
        self.field = field


def names_of(columns: str | Sequence[str] | None) -> tuple[str, ...]:
    """One column, several or none as a tuple."""
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
    """The ids of other rows that the column holds; none where it is null or blank. Raises UnusableValue."""
    value = row[column]
    ids = value if isinstance(value, list) else [value]
    if isinstance(value, dict) or any(isinstance(item, list | dict) for item in ids):
        raise UnusableValue(column, "it must hold the id of a row, a list of ids, or null")
    return [as_text(item) for item in ids if not is_blank(item)]


def _text_of_number(value: float) -> tuple[str, str]:
    """Equal for equal numbers, of which true and false are none.

    Text, since Python's hash of a number is known to everybody: a data set could be made of a million numbers
    that all fall together in a dictionary and take hours. The hash of text is another one in each process.
    """
    if isinstance(value, bool):
        return "bool", str(value)
    is_whole = isinstance(value, int) or value.is_integer()
    return "number", hex(int(value)) if is_whole else value.hex()
