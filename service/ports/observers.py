"""What the service tells of its own doing, as Protocols: who counts implements them, who acts does not know how.

Everything is told at the moment it is over, by plain values of bounded variety; `UNOBSERVED` listens to nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from service.entities import JobStatus, ShardStatus
from service.search.predictions.prompt_tree import Usage


class TurnEnd(StrEnum):
    """How a worker's turn at a shard ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # for good, and the job with it
    GIVEN_BACK = "given_back"  # the worker, or the job, was told to stop or to wait
    PAUSED = "paused"  # the backend is away, or no tokens are left today; the job waits
    CRASHED = "crashed"  # an unforeseen error; tried again, within limits
    LEASE_LOST = "lease_lost"  # another worker goes on
    STORAGE_LOST = "storage_lost"  # the database was away; the lease runs out by itself
    INTERRUPTED = "interrupted"  # the worker itself was cancelled


class CallEnd(StrEnum):
    """How a call to an inference server ended."""

    ANSWERED = "answered"
    REFUSED = "refused"  # asking again would not help
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed_out"
    DISCONNECTED = "disconnected"
    SERVER = "server"  # it says itself that it failed
    MALFORMED = "malformed"  # an answer that cannot be read
    DROPPED = "dropped"  # nobody waits for the answer any more


class WorkObserver(Protocol):
    """Told by workers."""

    def claimed(self, seconds: float, *, found: bool) -> None:
        """A worker has looked for a shard for so long, and got one or not."""

    def saved(self, seconds: float, *, rows_labelled: int) -> None:
        """Labels, checkpoint and cost were stored in so long; so many rows have a label that had none."""

    def asked(self, backend: str, usage: Usage) -> None:
        """So much was asked of a backend, and its answers were stored."""

    def recalled(self, backend: str, prompts: int) -> None:
        """So many prompts were answered from memory."""

    def ended(self, how: TurnEnd) -> None:
        """A turn at a shard is over."""


class CallObserver(Protocol):
    """Told by those who drive an inference server."""

    def called(self, seconds: float, how: CallEnd) -> None:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What is stored of all projects together, as of now."""

    jobs: Mapping[JobStatus, int] = field(default_factory=dict)
    shards: Mapping[ShardStatus, int] = field(default_factory=dict)  # of jobs that have not ended
    oldest_queued_seconds: float = 0.0  # since the shard that waits longest could be claimed; 0 where none waits
    crashes: int = 0  # of shards of jobs that have not ended, since each was saved last


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

    def ended(self, how: TurnEnd) -> None:
        """Nothing."""

    def called(self, seconds: float, how: CallEnd) -> None:
        """Nothing."""


UNOBSERVED = Unobserved()
