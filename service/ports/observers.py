"""The observers that components notify of finished operations; metrics code implements them.

A component reports an operation as soon as it ends, by plain values of bounded variety; `UNOBSERVED` ignores reports.
"""

from typing import Protocol

from service.records.observations import CallEnd, TurnEnd
from service.records.work import WorkKind
from service.search.predictions.prompt_tree import Usage


class WorkObserver(Protocol):
    """Notified by workers."""

    def claimed(self, seconds: float, *, found: bool) -> None:
        """A worker has tried for `seconds` to claim work; `found` if it got a work item."""

    def saved(self, seconds: float, *, rows_labelled: int) -> None:
        """A worker has stored labels, checkpoint and cost in `seconds`; `rows_labelled` have their first label."""

    def scored(self, backend: str, usage: Usage) -> None:
        """A backend has computed this much, and its answers were stored."""

    def recalled(self, backend: str, prompts: int) -> None:
        """This many prompts were answered from stored answers."""

    def ended(self, kind: WorkKind, end: TurnEnd) -> None:
        """A worker has stopped running a work item."""


class CallObserver(Protocol):
    """Notified by the executors of calls to inference servers."""

    def called(self, seconds: float, end: CallEnd) -> None:
        """A call has ended after this long."""


class ServerLoad(Protocol):
    """The current load of an inference server, read when metrics are collected."""

    @property
    def limit(self) -> int:
        """The number of calls that may be in flight."""

    @property
    def under_way(self) -> int:
        """The number of calls in flight."""

    @property
    def left_alone(self) -> bool:
        """Whether calls wait because none was answered lately."""


class PoolLoad(Protocol):
    """The connections of a store to its database, read when metrics are collected."""

    @property
    def connections_in_use(self) -> int:
        """The number in use."""

    @property
    def max_connections(self) -> int:
        """The largest number in use."""


class Unobserved:
    """Ignores every report."""

    def claimed(self, seconds: float, *, found: bool) -> None:
        """Nothing."""

    def saved(self, seconds: float, *, rows_labelled: int) -> None:
        """Nothing."""

    def scored(self, backend: str, usage: Usage) -> None:
        """Nothing."""

    def recalled(self, backend: str, prompts: int) -> None:
        """Nothing."""

    def ended(self, kind: WorkKind, end: TurnEnd) -> None:
        """Nothing."""

    def called(self, seconds: float, end: CallEnd) -> None:
        """Nothing."""


UNOBSERVED = Unobserved()
