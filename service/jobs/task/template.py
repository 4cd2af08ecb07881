"""Turns a row into the text the language model reads."""

import re
from collections.abc import Mapping
from typing import Any

from service.placeholders import template_parts
from service.values import as_text

_FIELD = "\0"  # stands for a field, and can be in no column's name
_IN_BRACES = re.compile(r"\{\s*([^{}\0]*[^{}\0\s])\s*\}")


class Template:
    """A text with `{field}` places; only plain substitution, so that data stays inert."""

    def __init__(self, template: str) -> None:
        self._parts = list(template_parts(template))

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that are read, in order, each once."""
        return tuple(dict.fromkeys(field for _, field in self._parts if field is not None))

    @property
    def quoted(self) -> tuple[str, ...]:
        """What stands between braces that are themselves written, as by `{{text}}`: no column is read there."""
        shown = "".join(literal + ("" if field is None else _FIELD) for literal, field in self._parts)
        return tuple(dict.fromkeys(_IN_BRACES.findall(shown)))

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for one row, without white space at its end. Raises KeyError for a field the row does not have.

        A label stands one space behind the text. Behind other white space that space is a token that a
        language model hardly ever reads before a word, and all labels are about e^40 times less likely.
        """
        text = "".join(literal + ("" if field is None else as_text(row[field])) for literal, field in self._parts)
        return text.rstrip()
