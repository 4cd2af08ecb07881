"""The lease queue of work items of any kind, as Protocols cut to their users."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from service.identifiers import JobId, WorkerId
from service.records.jobs import Backoff, JobStatus, PauseReason
from service.records.work import ClaimedWork, Lease, WorkKind, WorkStatus


class WorkQueue(Protocol):
    """Gives workers what there is to do."""

    async def claim(self, kinds: Sequence[WorkKind], worker_id: WorkerId, lease_seconds: float) -> ClaimedWork | None:
        """Lease an item whose lease has run out, or the oldest queued one; None where there is none.

        Of several kinds, the first one that has an item gets the worker.
        A lease that has run out counts as a crash, which the next save that advances forgives.
        An item that crashed its workers too often without progress is failed instead.
        """


class Renewals(Protocol):
    """Keeps leases from running out."""

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Renew the lease; says whether to give the item back. Raises LeaseLost.

        That is to be done where the job is to be cancelled, has failed or was paused by a person.
        """


class Checkpoints(Protocol):
    """How far items have come."""

    async def checkpoint(self, job_id: JobId, number: int) -> bytes | None:
        """How far an item of the job has come, as it was saved last; None where nothing was."""

    async def save(self, lease: Lease, checkpoint: bytes) -> None:
        """Record how far the item has come, with a `job.progress` event. Raises LeaseLost.

        What the item's kind counts of its progress is to be written before, in the same unit of work.
        """


class WorkEnds(Protocol):
    """How a worker's turn at an item can end, and what its job hears meanwhile."""

    async def finish(
        self,
        lease: Lease,
        status: WorkStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        """End the item; the job's status after it. The summary goes into the event, such as `shard.finished`.

        An anchor's success unblocks the other shards; the last success ends the job; a failure
        ends the job and all its items that are not running; a cancellation does so once no
        item is running. Raises LeaseLost.
        """

    async def release(self, lease: Lease, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
        """Give the item back to the queue, to be gone on with after the delay. Raises LeaseLost.

        Where the job is to be cancelled or has failed, the item is cancelled instead.
        `crashed` counts as a crash of the worker: too many without progress fail the item.
        """

    async def pause(
        self,
        lease: Lease,
        reason: PauseReason,
        message: str,
        *,
        tried: bool,
        backoff: Backoff,
        at_least_seconds: float,
    ) -> None:
        """Give the item back and let the job wait. Raises LeaseLost.

        A running job becomes paused, with a `job.paused` event. None of its items can be claimed
        until the wait is over, and then one at a time, to see whether the job can go on; where it
        can't, and this worker has `tried` just that, it is paused again, for longer, without an event unless it is for
        another reason. What a person has paused stays so.
        """

    async def resume(self, lease: Lease) -> None:
        """What the job has waited for is there: all of its items can be claimed again. Raises LeaseLost.

        The events are `job.resumed` and then that this item has started.
        """

    async def warn(self, lease: Lease, warning: str) -> None:
        """Add to the warnings of the item's job. Raises LeaseLost."""


class Work(WorkQueue, Renewals, Checkpoints, WorkEnds, Protocol):
    """All of it, in one unit of work."""
