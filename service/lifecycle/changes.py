"""The changes that a store must write after an event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from service.lifecycle.states import JobState, WorkState


class Siblings(Enum):
    """The change of the job's other work items."""

    UNBLOCK = "unblock"  # queue the blocked ones
    CANCEL_IDLE = "cancel idle"  # cancel those of which `WorkState.is_idle` is true


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the job's event log."""

    type: str
    data: Mapping[str, Any]
    message: bytes | None = None  # for webhooks; None if they do not report this entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """Tells the store to count the items after the changes, and to call `settle`, which may end the job."""

    failed: bool = False  # an item has failed for good
    error: Mapping[str, Any] | None = None  # of the job, if it ends now


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The changes to write, in the order of the fields."""

    work: WorkState | None = None  # the new state; None if the event concerns no item
    work_fields: Mapping[str, Any] = field(default_factory=dict)  # its changed fields
    job: JobState
    job_fields: Mapping[str, Any] = field(default_factory=dict)
    siblings: Siblings | None = None
    entries: tuple[Entry, ...] = ()
    wakes_workers: bool = False  # there may be work now
    interrupts: bool = False  # the worker must release the item
    settling: Settling | None = None

    @property
    def is_claimed(self) -> bool:
        """Whether the item has a new lease."""
        return "epoch" in self.work_fields
