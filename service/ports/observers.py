"""What components report finished operations to; metrics code implements it, and components do not know how.

Everything is told at the moment it is over, by plain values of bounded variety; `UNOBSERVED` listens to nothing.
"""

from typing import Protocol

from service.records.observations import CallEnd, TurnEnd
from service.records.work import WorkKind
from service.search.predictions.prompt_tree import Usage


class WorkObserver(Protocol):
    """Told by workers."""

    def claimed(self, seconds: float, *, found: bool) -> None:
        """A worker has looked for work for so long, and got one or not."""

    def saved(self, seconds: float, *, rows_labelled: int) -> None:
        """Labels, checkpoint and cost were stored in so long; so many rows have a label that had none."""

    def asked(self, backend: str, usage: Usage) -> None:
        """So much was asked of a backend, and its answers were stored."""

    def recalled(self, backend: str, prompts: int) -> None:
        """So many prompts were answered from memory."""

    def ended(self, kind: WorkKind, end: TurnEnd) -> None:
        """A turn at a work item is over."""


class CallObserver(Protocol):
    """Told by those who drive an inference server."""

    def called(self, seconds: float, end: CallEnd) -> None:
        """A call has ended after so long on its way."""


class ServerLoad(Protocol):
    """How an inference server is driven just now, read when somebody wants to know."""

    @property
    def limit(self) -> int:
        """How many calls may be under way."""

    @property
    def under_way(self) -> int:
        """How many calls are."""

    @property
    def left_alone(self) -> bool:
        """Whether no call goes through, since none was answered lately."""


class PoolLoad(Protocol):
    """The connections of a store to its database, read when somebody wants to know."""

    @property
    def connections_in_use(self) -> int:
        """How many are."""

    @property
    def max_connections(self) -> int:
        """How many may be."""


class Unobserved:
    """Listens to nothing."""

    def claimed(self, seconds: float, *, found: bool) -> None:
        """Nothing."""

    def saved(self, seconds: float, *, rows_labelled: int) -> None:
        """Nothing."""

    def asked(self, backend: str, usage: Usage) -> None:
        """Nothing."""

    def recalled(self, backend: str, prompts: int) -> None:
        """Nothing."""

    def ended(self, kind: WorkKind, end: TurnEnd) -> None:
        """Nothing."""

    def called(self, seconds: float, end: CallEnd) -> None:
        """Nothing."""


UNOBSERVED = Unobserved()
