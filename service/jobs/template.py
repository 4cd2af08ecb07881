"""Turns a row into the text the language model reads."""

from collections.abc import Mapping
from string import Formatter
from typing import Any


class Template:
    """A text with `{field}` places; only plain substitution, so that data stays inert."""

    def __init__(self, template: str) -> None:
        self._parts = [(literal, field) for literal, field, _, _ in Formatter().parse(template)]

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for one row. Raises KeyError for a field the row does not have."""
        return "".join(literal + ("" if field is None else as_text(row[field])) for literal, field in self._parts)


def as_text(value: Any) -> str:
    """A JSON value as people write it: text as it is, true as "True", 3.0 as "3.0"."""
    return value if isinstance(value, str) else str(value)
