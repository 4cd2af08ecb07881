"""Counts rows of which the language model would read only words such as NA, which programs write for no value."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.values import by_number, counted, is_blank, says_missing

_TOLD_LINES = 5
_TOLD_WORDS = 3


class SaidMissing:
    """Counts rows in which every field of the template holds such a word or is blank, with the first lines."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields
        self._rows = 0
        self._lines: list[int] = []
        self._words: Counter[str] = Counter()

    def add(self, row: Mapping[str, Any], line: int) -> None:
        """Count the row, whose fields the checks have passed."""
        words = [row[field].strip() for field in self._fields if says_missing(row[field])]
        if not words or len(words) + sum(is_blank(row[field]) for field in self._fields) < len(self._fields):
            return
        self._rows += 1
        self._words.update(set(words))
        if len(self._lines) < _TOLD_LINES:
            self._lines.append(line)

    def warnings(self) -> Iterator[str]:
        """The warning about these rows, if there are any. Such a word may be a real answer, so they are labelled."""
        if not self._rows:
            return
        lines = ", ".join(map(str, self._lines)) + (" and more" if self._rows > _TOLD_LINES else "")
        words = ", ".join(repr(word) for word, _ in self._words.most_common(_TOLD_WORDS))
        columns = " and ".join(map(repr, self._fields))
        yield (
            f"{counted(self._rows, 'row')} ({by_number(self._rows, 'line', 'lines')} {lines}) "
            f"{by_number(self._rows, 'has', 'have')} nothing but {words} in {columns}, which is all that the template "
            "reads, and will be labelled; if that stands for a missing value, leave such rows out"
        )
