"""The lease queue of work items, as a Protocol."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from service.identifiers import JobId, WorkerId
from service.records.jobs import Backoff, JobStatus, PauseReason
from service.records.work import ClaimedWork, Lease, WorkKind, WorkStatus


class Work(Protocol):
    """The lease queue, in one unit of work: claims, renewals, checkpoints, and the ends of a worker's turns."""

    async def claim(self, kinds: Sequence[WorkKind], worker_id: WorkerId, lease_seconds: float) -> ClaimedWork | None:
        """Lease an item whose lease has expired, or the oldest queued one; None if there is none.

        Of several kinds, it takes the first that has an item. An expired lease counts as a crash; the next save that
        advances resets the count. An item with too many crashes fails instead.
        """

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Renew the lease; returns True if the worker must release the item. Raises LeaseLost.

        It must if the job has failed, or if a person has cancelled or paused it.
        """

    async def checkpoint(self, job_id: JobId, number: int) -> bytes | None:
        """The last checkpoint of an item; None if it has none."""

    async def save(self, lease: Lease, checkpoint: bytes) -> None:
        """Save the item's checkpoint, with a `job.progress` event. Raises LeaseLost.

        Write the progress figures of the item's kind before, in the same unit of work.
        """

    async def finish(
        self,
        lease: Lease,
        status: WorkStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        """End the item; returns the job's status after that. Raises LeaseLost.

        The summary goes into the event, such as `shard.finished`. An anchor's success unblocks the other shards. The
        last success ends the job. A failure ends the job and all its items that are not running. A cancellation does
        so when no item is running.
        """

    async def release(self, lease: Lease, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
        """Return the item to the queue; workers may claim it after the delay. Raises LeaseLost.

        If the job is being cancelled or has failed, the item is cancelled instead. `crashed` counts as a crash: too
        many without progress fail the item.
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
        """Return the item to the queue and pause the job. Raises LeaseLost.

        A running job becomes paused, with a `job.paused` event. Workers claim none of its items until the wait is
        over, and then one at a time, to try whether the job can resume. If this worker has `tried` that in vain, the
        job is paused for longer, with another event only for another reason. A job that a person paused stays so.
        """

    async def resume(self, lease: Lease) -> None:
        """Resume a job whose backend or tokens are available again. Raises LeaseLost.

        It logs `job.resumed`, and then the start of this item. Workers may claim all of the job's items.
        """

    async def warn(self, lease: Lease, warning: str) -> None:
        """Add a warning to the item's job. Raises LeaseLost."""
