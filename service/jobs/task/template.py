"""Renders a row as the text that the language model reads, by the user's template."""

import re
from collections.abc import Mapping
from typing import Any

from service.config import Task
from service.placeholders import template_parts
from service.values import as_text, without_blank_end

_FIELD = "\0"  # placeholder of a field; no column's name can contain it
_IN_BRACES = re.compile(r"\{\s*([^{}\0]*[^{}\0\s])\s*\}")


class Template:
    """A text with `{field}` placeholders; only plain substitution, so that values of rows are never interpreted."""

    def __init__(self, template: str) -> None:
        self._parts = list(template_parts(template))

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that the template reads, in order, without duplicates."""
        return tuple(dict.fromkeys(field for _, field in self._parts if field is not None))

    @property
    def quoted(self) -> tuple[str, ...]:
        """The names in doubled braces, such as `{{text}}`, which produce braces and read no column."""
        shown = "".join(literal + ("" if field is None else _FIELD) for literal, field in self._parts)
        return tuple(dict.fromkeys(_IN_BRACES.findall(shown)))

    def render(self, row: Mapping[str, Any]) -> str:
        """The text of one row, without white space or invisible characters at its end.

        Raises KeyError for a field that the row lacks.

        A label follows the text after one space. Behind further white space, that space would be a token that
        hardly ever precedes a word, and all labels would be about e^40 times less likely.
        """
        return without_blank_end(self.filled(row))

    def filled(self, row: Mapping[str, Any]) -> str:
        """The text of one row as it stands. Raises KeyError for a field that the row lacks."""
        return "".join(literal + ("" if field is None else as_text(row[field])) for literal, field in self._parts)


def tail_of(task: Task) -> str:
    """The end of a demonstration, which a query lacks: the longest label and the separator."""
    return f" {max(task.labels, key=len)}{task.separator}"
