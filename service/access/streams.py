"""Counts the event streams that are open in this process, by project."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.access.quotas import check_streams
from service.identifiers import ProjectName
from service.records.access import Quotas


class StreamCounter:
    """Open streams of one process; several API processes count each for itself."""

    def __init__(self) -> None:
        self._open: Counter[ProjectName] = Counter()

    def open_streams(self, project: ProjectName) -> int:
        """How many streams the project has open here."""
        return self._open[project]

    @contextmanager
    def counted(self, project: ProjectName, quotas: Quotas) -> Iterator[None]:
        """One more stream for as long as the context lasts. Raises QuotaExhausted."""
        check_streams(quotas, self._open[project])
        self._open[project] += 1
        try:
            yield
        finally:
            self._open[project] -= 1
            if not self._open[project]:
                del self._open[project]
