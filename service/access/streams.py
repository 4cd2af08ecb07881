"""Counts the open event streams of this process by project, for the quota of streams."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.access.quotas import check_streams
from service.identifiers import ProjectName
from service.records.access import Quotas


class StreamCounter:
    """Counts open streams by project; each API process counts only its own."""

    def __init__(self) -> None:
        self._open: Counter[ProjectName] = Counter()

    def open_streams(self, project: ProjectName) -> int:
        """The number of streams that the project has open in this process."""
        return self._open[project]

    @contextmanager
    def counted(self, project: ProjectName, quotas: Quotas) -> Iterator[None]:
        """Count one more stream during the context. Raises QuotaExhausted."""
        check_streams(quotas, self._open[project])
        self._open[project] += 1
        try:
            yield
        finally:
            self._open[project] -= 1
            if not self._open[project]:
                del self._open[project]
