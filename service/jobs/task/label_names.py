"""Finds the label that a user's value names; known labels and gold labels use the same rule."""

import re
import unicodedata
from collections.abc import Iterable

from service.identifiers import Label
from service.values import is_blank

_WHOLE = re.compile(r"(-?[0-9]+)\.0+")  # spreadsheets and nullable columns write 1 as 1.0


class LabelNames:
    """Finds labels by name.

    It compares names as text in one Unicode form (NFC), and ignores case and surrounding white space. A whole number
    may have zeros behind its decimal point, unless that makes it ambiguous.
    """

    def __init__(self, names: Iterable[tuple[str, Label]]) -> None:
        self._labels = {comparable(name): label for name, label in names}
        self._numbers: dict[str, set[Label]] = {}
        for name, label in self._labels.items():
            self._numbers.setdefault(plain_number(name), set()).add(label)

    def find(self, text: str) -> Label | None:
        """The label with this name; None if there is none."""
        name = comparable(text)
        if name in self._labels:
            return self._labels[name]
        found = self._numbers.get(plain_number(name), set())
        return next(iter(found)) if len(found) == 1 else None


def comparable(text: str) -> str:
    """A form of the text that is equal for texts which name the same label."""
    folded = unicodedata.normalize("NFC", text.strip()).casefold()
    return unicodedata.normalize("NFC", folded)


def without_invisible(text: str) -> str:
    """The text without invisible characters; white space stays."""
    return "".join(character for character in text if character.isspace() or not is_blank(character))


def plain_number(text: str) -> str:
    """The text; a whole number without zeros behind its decimal point."""
    number = _WHOLE.fullmatch(text)
    return text if number is None else number[1]
