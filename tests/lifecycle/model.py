"""What should become of jobs, in the plainest words: one list of jobs, no transactions, no clock but a number.

The machine in `machine.py` does everything here and in a store, and compares. A new operation is a method here and
a rule there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.entities import JobStatus, Lease, ShardStatus
from service.errors import JobFinished, LeaseLost, WrongState
from service.identifiers import JobId

MAX_CRASHES = 2
LONG_SECONDS = 3_600.0  # a lease or a wait that ends only where a rule says so
TRIAL_SECONDS = 60.0
_TICK_SECONDS = 1e-6

WAITING = (ShardStatus.BLOCKED, ShardStatus.QUEUED)


@dataclass
class ModelShard:
    """A shard and what is stored of it."""

    rows: range
    status: ShardStatus
    epoch: int = 0
    lease_until: float = 0.0
    crashes: int = 0
    checkpoint: bytes | None = None
    tokens: int = 0


@dataclass
class ModelJob:
    """A job and what is stored of it."""

    id: JobId
    number: int  # jobs are queued in this order
    shards: list[ModelShard]
    status: JobStatus = JobStatus.QUEUED
    cancel_requested: bool = False
    error: str | None = None
    retry_at: float = 0.0
    on_hold: bool = False  # paused by a person
    has_begun: bool = False
    labels: dict[int, int] = field(default_factory=dict)
    events: list[str] = field(default_factory=lambda: ["job.created"])

    @property
    def stopping(self) -> bool:
        """Whether no further shard may be begun."""
        return self.cancel_requested or self.status.is_final


@dataclass
class Model:
    """All jobs that there are."""

    jobs: dict[JobId, ModelJob] = field(default_factory=dict)
    now: float = 0.0

    def tick(self) -> None:
        """Nothing happens at the same moment as anything else."""
        self.now += _TICK_SECONDS

    def later(self) -> None:
        """Every lease given so far has run out, and every wait is over."""
        self.now += LONG_SECONDS + 1.0

    def submit(self, job_id: JobId, number: int, sizes: Sequence[int], *, anchor: bool) -> None:
        """A job of shards with so many rows; later ones wait for an anchor."""
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        shards = [
            ModelShard(range(start, start + size), ShardStatus.BLOCKED if anchor and start else ShardStatus.QUEUED)
            for start, size in zip(starts, sizes, strict=True)
        ]
        self.jobs[job_id] = ModelJob(job_id, number, shards)

    def claim(self) -> tuple[ModelJob, int] | None:
        """The job and shard that the next worker gets."""
        while (found := self._first()) is not None:
            job, index = found
            shard = job.shards[index]
            shard.crashes += shard.status is ShardStatus.RUNNING
            if job.stopping:
                self._end(job, index, ShardStatus.CANCELLED)
            elif shard.crashes >= MAX_CRASHES:
                self._end(job, index, ShardStatus.FAILED, "worker_crashed")
            else:
                self._lease(job, index)
                return found
        return None

    def holds(self, lease: Lease) -> bool:
        """Whether the lease still stands."""
        job = self.jobs.get(lease.job_id)
        shard = None if job is None else job.shards[lease.shard]
        return shard is not None and (shard.epoch, shard.status) == (lease.epoch, ShardStatus.RUNNING)

    def renew(self, lease: Lease, seconds: float) -> bool:
        """Whether the worker is told to stop. Raises LeaseLost."""
        job, shard = self._held(lease)
        shard.lease_until = self.now + seconds
        return job.stopping or job.on_hold

    def save(self, lease: Lease, checkpoint: bytes, labels: dict[int, int], tokens: int) -> None:
        """Labels, checkpoint and cost, together. Raises LeaseLost."""
        job, shard = self._held(lease)
        job.labels |= labels
        shard.crashes = shard.crashes if shard.checkpoint == checkpoint else 0
        shard.checkpoint, shard.tokens = checkpoint, tokens
        job.events.append("job.progress")

    def finish(self, lease: Lease, status: ShardStatus, error: str | None) -> JobStatus:
        """The job's status afterwards. Raises LeaseLost."""
        job, _ = self._held(lease)
        self._end(job, lease.shard, status, error)
        return job.status

    def release(self, lease: Lease, *, crashed: bool) -> None:
        """Give the shard back. Raises LeaseLost."""
        job, shard = self._held(lease)
        crashes = shard.crashes + crashed
        if job.stopping:
            self._end(job, lease.shard, ShardStatus.CANCELLED)
        elif crashes >= MAX_CRASHES:
            self._end(job, lease.shard, ShardStatus.FAILED, "worker_crashed")
        else:
            shard.status, shard.crashes = ShardStatus.QUEUED, crashes
            if crashed or job.on_hold or job.status is not JobStatus.PAUSED:
                job.events.append("shard.released")

    def pause(self, lease: Lease, reason: str, *, tried: bool, wait_seconds: float) -> None:
        """Something is missing; `tried` says that the worker looked whether it is there again. Raises LeaseLost."""
        job, shard = self._held(lease)
        if job.stopping:
            self._end(job, lease.shard, ShardStatus.CANCELLED)
            return
        shard.status = ShardStatus.QUEUED
        if job.on_hold:
            return
        if tried or job.status is not JobStatus.PAUSED:
            is_news = job.status is not JobStatus.PAUSED or job.error != reason
            job.events += ["job.paused"] if is_news else []
            job.status, job.error, job.retry_at = JobStatus.PAUSED, reason, self.now + wait_seconds

    def resume(self, lease: Lease) -> None:
        """What was missing is there again. Raises LeaseLost."""
        job, _ = self._held(lease)
        if job.stopping:
            return
        if job.status is JobStatus.PAUSED and not job.on_hold:
            self._go_on(job)
        job.events.append("shard.started")

    def hold(self, job: ModelJob) -> None:
        """Somebody wants the job to wait. Raises JobFinished."""
        if job.stopping:
            raise JobFinished("ended, or about to")
        if not job.on_hold:
            job.status, job.error, job.retry_at, job.on_hold = JobStatus.PAUSED, "requested", math.inf, True
            job.events.append("job.paused")

    def let_go(self, job: ModelJob) -> None:
        """Somebody wants the job to go on. Raises JobFinished."""
        if job.stopping:
            raise JobFinished("ended, or about to")
        if job.on_hold:
            self._go_on(job)
        elif job.status is JobStatus.PAUSED:
            job.retry_at = self.now

    def cancel(self, job: ModelJob) -> None:
        """Somebody wants the job to stop. Raises JobFinished."""
        if job.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}:
            raise JobFinished("ended")
        if not job.stopping:
            job.cancel_requested = True
            job.events.append("job.cancel_requested")
        self._settle(job, stopping=True)

    def delete(self, job: ModelJob) -> None:
        """Nothing is left of it. Raises WrongState."""
        if not job.status.is_final:
            raise WrongState("not ended")
        del self.jobs[job.id]

    def _held(self, lease: Lease) -> tuple[ModelJob, ModelShard]:
        if not self.holds(lease):
            raise LeaseLost("the shard is another's, or nobody's")
        job = self.jobs[lease.job_id]
        return job, job.shards[lease.shard]

    def _first(self) -> tuple[ModelJob, int] | None:
        """The shard whose lease ran out first, else the one that is queued for longest."""
        open_to_claims = [
            (job, index, shard)
            for job in self.jobs.values()
            if job.cancel_requested or job.status is not JobStatus.PAUSED or job.retry_at <= self.now
            for index, shard in enumerate(job.shards)
        ]
        expired = [(s.lease_until, j, i) for j, i, s in open_to_claims if self._has_expired(s)]
        queued = [(j.number, i, j) for j, i, s in open_to_claims if s.status is ShardStatus.QUEUED]
        if expired:
            _, job, index = min(expired, key=lambda found: found[0])
            return job, index
        if queued:
            _, index, job = min(queued, key=lambda found: found[:2])
            return job, index
        return None

    def _has_expired(self, shard: ModelShard) -> bool:
        return shard.status is ShardStatus.RUNNING and shard.lease_until < self.now

    def _lease(self, job: ModelJob, index: int) -> None:
        shard = job.shards[index]
        shard.status, shard.epoch, shard.lease_until = ShardStatus.RUNNING, shard.epoch + 1, self.now + LONG_SECONDS
        if job.status is JobStatus.PAUSED:
            job.retry_at = self.now + TRIAL_SECONDS
            return
        job.events += ["job.running"] if job.status is JobStatus.QUEUED else []
        job.events.append("shard.started")
        job.status, job.has_begun = JobStatus.RUNNING, True

    def _go_on(self, job: ModelJob) -> None:
        job.status, job.error = JobStatus.RUNNING if job.has_begun else JobStatus.QUEUED, None
        job.retry_at, job.on_hold = 0.0, False
        job.events.append("job.resumed")

    def _end(self, job: ModelJob, index: int, status: ShardStatus, error: str | None = None) -> None:
        stopping = job.stopping
        job.shards[index].status = status
        job.events.append("shard.finished")
        job.cancel_requested |= status is ShardStatus.CANCELLED and not stopping
        if status is ShardStatus.SUCCEEDED and index == 0 and not stopping:
            for shard in job.shards:
                shard.status = ShardStatus.QUEUED if shard.status is ShardStatus.BLOCKED else shard.status
        failed = status is ShardStatus.FAILED
        self._settle(job, stopping=stopping or status is ShardStatus.CANCELLED, failed=failed, error=error)

    def _settle(self, job: ModelJob, *, stopping: bool, failed: bool = False, error: str | None = None) -> None:
        if stopping or failed:
            for shard in job.shards:
                if shard.status in WAITING or self._has_expired(shard):
                    shard.status = ShardStatus.CANCELLED
        statuses = {shard.status for shard in job.shards}
        if job.status.is_final:
            return
        if failed:
            self._close(job, JobStatus.FAILED, error)
        elif stopping and not statuses & {*WAITING, ShardStatus.RUNNING}:
            self._close(job, JobStatus.CANCELLED, error)
        elif not stopping and statuses == {ShardStatus.SUCCEEDED}:
            self._close(job, JobStatus.SUCCEEDED, error)

    def _close(self, job: ModelJob, status: JobStatus, error: str | None) -> None:
        job.status, job.error, job.on_hold = status, error, False
        job.events.append(f"job.{status}")
