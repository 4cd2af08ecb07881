"""Finds the label that a value of the user's stands for: known labels and gold are read by the same rule."""

import re
import unicodedata
from collections.abc import Iterable

from service.identifiers import Label

_WHOLE = re.compile(r"(-?[0-9]+)\.0+")  # 1.0, as spreadsheets and nullable columns write 1


class LabelNames:
    """Names with the labels that they stand for.

    Compared as text in one Unicode form (NFC), ignoring case and white space around. A whole number may be written with
    zeros behind the point, where that leaves no choice.
    """

    def __init__(self, names: Iterable[tuple[str, Label]]) -> None:
        self._labels = {comparable(name): label for name, label in names}
        self._numbers: dict[str, set[Label]] = {}
        for name, label in self._labels.items():
            self._numbers.setdefault(_plain(name), set()).add(label)

    def find(self, text: str) -> Label | None:
        """The label of this name, if it has one."""
        name = comparable(text)
        if name in self._labels:
            return self._labels[name]
        found = self._numbers.get(_plain(name), set())
        return next(iter(found)) if len(found) == 1 else None


def comparable(text: str) -> str:
    """Equal for texts that name the same label."""
    folded = unicodedata.normalize("NFC", text.strip()).casefold()
    return unicodedata.normalize("NFC", folded)


def _plain(text: str) -> str:
    """The text, a whole number without its zeros behind the point."""
    number = _WHOLE.fullmatch(text)
    return text if number is None else number[1]
