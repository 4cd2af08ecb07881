"""What a store is to do about an event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from service.lifecycle.states import JobState, WorkState


class Siblings(Enum):
    """What becomes of the job's other work items."""

    UNBLOCK = "unblock"  # queue those that are blocked
    CANCEL_IDLE = "cancel idle"  # cancel those that `WorkState.is_idle` is true of


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the job's log."""

    type: str
    data: Mapping[str, Any]
    message: bytes | None = None  # what webhooks are sent; None: they are not told


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """The items' states have changed: count them, and let `settle` say whether the job has ended."""

    failed: bool = False  # an item has failed for good
    error: Mapping[str, Any] | None = None  # of the job, if it ends now


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a store writes, in the order of the fields."""

    work: WorkState | None = None  # as it is now; None where the event is about no item
    of_work: Mapping[str, Any] = field(default_factory=dict)  # its fields that have changed
    job: JobState
    of_job: Mapping[str, Any] = field(default_factory=dict)
    siblings: Siblings | None = None
    entries: tuple[Entry, ...] = ()
    wakes_workers: bool = False  # there may be work now
    interrupts: bool = False  # the worker is to give the item back
    settling: Settling | None = None

    @property
    def is_claimed(self) -> bool:
        """Whether the item has a new lease."""
        return "epoch" in self.of_work
