"""What a cell of a data set reads like."""

import unicodedata
from typing import Any

_INVISIBLE = ("Cc", "Cf")  # controls and format characters, such as the zero-width space and the byte order mark


def as_text(value: Any) -> str:
    """A JSON value as people write it: text as it is, true as "True", 3.0 as "3.0"."""
    return value if isinstance(value, str) else str(value)


def is_blank(value: Any) -> bool:
    """Whether nobody could read anything there: null, no text, or white space and invisible characters alone.

    CSV has no null, so an empty cell is the same there as null elsewhere.
    """
    if not isinstance(value, str):
        return value is None
    return all(character.isspace() or unicodedata.category(character) in _INVISIBLE for character in value)
