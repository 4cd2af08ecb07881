"""A model of the store with `service.lifecycle` alone: lists of states, no transactions, no database.

The machine in `machine.py` does every action here and in Postgres, and compares.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

from service.errors import LeaseLost
from service.identifiers import JobId, WorkerId
from service.lifecycle import (
    WAITING_WORK,
    Changes,
    JobState,
    Siblings,
    WorkCounts,
    WorkState,
    decide,
    decide_job,
    settle,
)
from service.lifecycle.events import (
    CancelRequested,
    Claimed,
    Crashed,
    DeleteRequested,
    JobEvent,
    PauseRequested,
    Released,
    Renewed,
    ResourceMissing,
    ResumeRequested,
    RetryFailed,
    RetrySucceeded,
    Saved,
    WorkEvent,
    ended,
)
from service.records.jobs import Backoff, JobStatus, PauseReason
from service.records.work import Lease, WorkStatus

MAX_CRASHES = 2
LONG_SECONDS = 3_600.0  # a lease or a wait that ends only when a rule ends it
_TICK = timedelta(microseconds=1)


@dataclass
class ModelJob:
    """A job with its shards and their stored data."""

    number: int  # jobs are queued in this order
    state: JobState
    shards: list[WorkState]
    rows: list[range]
    checkpoints: dict[int, bytes] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    labels: dict[int, int] = field(default_factory=dict)
    events: list[str] = field(default_factory=lambda: ["job.created"])

    @property
    def id(self) -> JobId:
        """The job's id in the store."""
        return self.state.id


@dataclass
class Model:
    """All jobs, and the time."""

    jobs: dict[JobId, ModelJob] = field(default_factory=dict)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def tick(self) -> None:
        """Advance the clock, so that no two actions have the same time."""
        self.now += _TICK

    def later(self) -> None:
        """Advance the clock until every lease has expired and every wait is over."""
        self.now += timedelta(seconds=LONG_SECONDS + 1.0)

    def submit(self, job_id: JobId, number: int, sizes: Sequence[int], *, anchor: bool) -> None:
        """Add a job with a shard for each of `sizes`; with an anchor, later shards wait for the first."""
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        shards = [
            WorkState(
                job_id=job_id,
                number=index,
                payload={"rows": size},
                status=WorkStatus.BLOCKED if anchor and index else WorkStatus.QUEUED,
            )
            for index, size in enumerate(sizes)
        ]
        rows = [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        state = JobState(id=job_id, name="", status=JobStatus.QUEUED)
        self.jobs[job_id] = ModelJob(number, state, shards, rows)

    def claim(self, worker: WorkerId) -> tuple[ModelJob, WorkState] | None:
        """Claim the next shard; None if there is none."""
        while (found := self._first()) is not None:
            job, shard = found
            changes = self._apply_event(job, shard, Claimed(worker_id=worker, lease_seconds=LONG_SECONDS))
            if changes.is_claimed:
                return job, job.shards[shard.number]
        return None

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is current."""
        job = self.jobs.get(lease.job_id)
        shard = None if job is None else job.shards[lease.number]
        return shard is not None and (shard.epoch, shard.status) == (lease.epoch, WorkStatus.RUNNING)

    def renew(self, lease: Lease, seconds: float) -> bool:
        """Renew the lease; returns True if the worker must release the shard. Raises LeaseLost."""
        return self._apply_under_lease(lease, Renewed(lease_seconds=seconds)).interrupts

    def save(self, lease: Lease, checkpoint: bytes, labels: dict[int, int], tokens: int) -> None:
        """Save labels, checkpoint and cost. Raises LeaseLost."""
        job = self._job_of_lease(lease)
        advanced = job.checkpoints.get(lease.number) != checkpoint
        job.labels |= labels
        job.checkpoints[lease.number], job.tokens[lease.number] = checkpoint, tokens
        self._apply_under_lease(lease, Saved(advanced=advanced, progress={}))

    def finish(self, lease: Lease, status: WorkStatus, code: str | None) -> JobStatus:
        """End the shard; returns the job's new status. Raises LeaseLost."""
        self._apply_under_lease(lease, ended(status, error=None if code is None else {"code": code, "message": "no"}))
        return self.jobs[lease.job_id].state.status

    def release(self, lease: Lease, *, crashed: bool) -> None:
        """Release the shard. Raises LeaseLost."""
        self._apply_under_lease(lease, Crashed() if crashed else Released())

    def pause(self, lease: Lease, reason: PauseReason, *, tried: bool, wait_seconds: float) -> None:
        """Pause the job for its backend or tokens; `tried`: the worker was trying to resume it. Raises LeaseLost."""
        kind, backoff = RetryFailed if tried else ResourceMissing, Backoff(wait_seconds, wait_seconds)
        self._apply_under_lease(lease, kind(reason=reason, message="away", backoff=backoff))

    def resume(self, lease: Lease) -> None:
        """Resume the job, since its backend or tokens are available again. Raises LeaseLost."""
        self._apply_under_lease(lease, RetrySucceeded())

    def pause_on_request(self, job: ModelJob) -> None:
        """Pause the job on a person's request. Raises JobFinished."""
        self._request(job, PauseRequested())

    def resume_on_request(self, job: ModelJob) -> None:
        """Resume the job on a person's request. Raises JobFinished."""
        self._request(job, ResumeRequested())

    def cancel(self, job: ModelJob) -> None:
        """Cancel the job. Raises JobFinished."""
        self._request(job, CancelRequested())

    def delete(self, job: ModelJob) -> None:
        """Delete the job. Raises WrongState."""
        self._request(job, DeleteRequested())
        del self.jobs[job.id]

    def _apply_under_lease(self, lease: Lease, event: WorkEvent) -> Changes:
        job = self._job_of_lease(lease)
        return self._apply_event(job, job.shards[lease.number], event)

    def _job_of_lease(self, lease: Lease) -> ModelJob:
        if not self.holds(lease):
            raise LeaseLost("another worker has claimed the shard, or nobody holds it")
        return self.jobs[lease.job_id]

    def _apply_event(self, job: ModelJob, shard: WorkState, event: WorkEvent) -> Changes:
        changes = decide(job.state, shard, event, now=self.now, max_crashes=MAX_CRASHES)
        self._apply(job, changes)
        return changes

    def _request(self, job: ModelJob, event: JobEvent) -> None:
        self._apply(job, decide_job(job.state, event, now=self.now))

    def _apply(self, job: ModelJob, changes: Changes) -> None:
        """Apply changes in the order in which a store writes them."""
        if changes.work is not None:
            job.shards[changes.work.number] = changes.work
        job.state = changes.job
        if changes.siblings is not None:
            job.shards = [self._sibling(shard, changes.siblings) for shard in job.shards]
        job.events += [entry.type for entry in changes.entries]
        if changes.settling is not None:
            counts = _counts(job.shards)
            self._apply(job, settle(job.state, counts, changes.settling, progress={}, now=self.now))

    def _sibling(self, shard: WorkState, siblings: Siblings) -> WorkState:
        match siblings:
            case Siblings.UNBLOCK:
                is_blocked = shard.status is WorkStatus.BLOCKED
                return replace(shard, status=WorkStatus.QUEUED) if is_blocked else shard
            case Siblings.CANCEL_IDLE:
                return replace(shard, status=WorkStatus.CANCELLED) if shard.is_idle(self.now) else shard
            case _:
                assert_never(siblings)

    def _first(self) -> tuple[ModelJob, WorkState] | None:
        """The shard whose lease expired first; if there is none, the one that has been queued longest."""
        open_to_claims = [
            (job, shard)
            for job in self.jobs.values()
            if job.state.cancel_requested or not job.state.waits(self.now)
            for shard in job.shards
        ]
        expired = [(shard.lease_until, job, shard) for job, shard in open_to_claims if shard.has_expired(self.now)]
        queued = [(job.number, shard.number, job, shard) for job, shard in open_to_claims if _is_queued(shard)]
        if expired:
            return min(expired, key=lambda found: found[0] or self.now)[1:]
        return min(queued, key=lambda found: found[:2])[2:] if queued else None


def _is_queued(shard: WorkState) -> bool:
    return shard.status is WorkStatus.QUEUED


def _counts(shards: Sequence[WorkState]) -> WorkCounts:
    statuses = [shard.status for shard in shards]
    return WorkCounts(
        waiting=sum(status in WAITING_WORK for status in statuses),
        running=statuses.count(WorkStatus.RUNNING),
        succeeded=statuses.count(WorkStatus.SUCCEEDED),
        total=len(statuses),
    )
