"""Keeps the rows of a data set in memory, within a bound, so that later readings need not parse the file again."""

from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise

import orjson

from service.jobs.checks.rows import FaultLog, SourceRow

KEPT_BYTES = 32_000_000  # as many large data sets are read at once as `ICM_SERVER__UPLOADS_AT_ONCE` says

Read = Callable[[FaultLog], Iterator[SourceRow]]


class KeptRows:
    """Reads a data set, and keeps its rows as JSON if they have no fault and fit into `max_bytes`.

    A larger data set is parsed anew for each reading: memory must not grow with the file. Checks, token counts, known
    labels and storage are up to five readings. Strict parsing takes several times as long as decoding a kept row.
    """

    def __init__(self, read: Read, max_bytes: int = KEPT_BYTES) -> None:
        self._read = read
        self._max_bytes = max_bytes
        self._kept: _Rows | None = None

    def rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        """Every readable row, in order; a reading to the end adds its faults, and assumptions, to `faults`.

        A reading of kept rows adds nothing: they have no faults, and an earlier reading reported its assumptions.
        """
        return self._keeping(faults) if self._kept is None else self._kept.read()

    def forget(self) -> None:
        """Free the memory; a further reading parses the file again."""
        self._kept = None

    def _keeping(self, faults: FaultLog) -> Iterator[SourceRow]:
        faults_before = len(faults)
        kept: _Rows | None = _Rows()
        for row in self._read(faults):
            if kept is not None and not kept.add(row, self._max_bytes):
                kept = None
            yield row
        if len(faults) == faults_before:
            self._kept = kept


class _Rows:
    """Rows in one piece of memory: an object for each would make the garbage collector look through all objects."""

    def __init__(self) -> None:
        self._json = bytearray()
        self._ends = array("Q", [0])
        self._lines = array("Q")

    def add(self, row: SourceRow, max_bytes: int) -> bool:
        """Add the next row; False if the rows do not fit, or if a value is not JSON, which the checks will report."""
        try:
            self._json += orjson.dumps(row.fields)
        except orjson.JSONEncodeError:
            return False
        self._ends.append(len(self._json))
        self._lines.append(row.line)
        return len(self._json) <= max_bytes

    def read(self) -> Iterator[SourceRow]:
        """Every row, in order."""
        with memoryview(self._json) as text:
            for line, (start, end) in zip(self._lines, pairwise(self._ends), strict=True):
                yield SourceRow(line, orjson.loads(text[start:end]))
