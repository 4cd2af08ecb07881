"""What the store in memory holds, and how it applies what `service.lifecycle` decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, assert_never

import orjson

from service.errors import JobNotFound, LeaseLost
from service.identifiers import BackendId, DatasetId, JobId, Row
from service.lifecycle import WAITING_SHARD, Changes, Entry, JobState, ShardCounts, ShardState, Siblings, settle
from service.records.jobs import Event, Job, Lease, NewDataset, NewRow, Progress, ShardStatus
from service.records.labels import LabelState
from service.records.scoring import BackendIdentity
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.prompting.recall import PromptKey
from service.storage.records import SUMMED


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """A shard and what is stored of it beside its state."""

    queued_at: datetime
    checkpoint: bytes | None = None
    progress: Progress = field(default_factory=Progress)
    remembered: int = 0
    modelled: bool = False
    summary: Mapping[str, Any] | None = None


@dataclass
class State:
    """All tables; their values are never changed, only replaced, so that a copy of the mappings keeps them."""

    now: Callable[[], datetime]
    datasets: dict[DatasetId, NewDataset] = field(default_factory=dict)
    rows: dict[DatasetId, tuple[NewRow, ...]] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)  # as they were made
    lives: dict[JobId, JobState] = field(default_factory=dict)
    shards: dict[tuple[JobId, int], ShardState] = field(default_factory=dict)
    records: dict[tuple[JobId, int], ShardRecord] = field(default_factory=dict)
    labels: dict[tuple[JobId, Row], LabelState] = field(default_factory=dict)
    events: dict[JobId, tuple[Event, ...]] = field(default_factory=dict)
    tokens: dict[date, int] = field(default_factory=dict)
    backends: dict[BackendId, BackendIdentity] = field(default_factory=dict)
    answers: dict[tuple[BackendId, PromptKey], LogProbabilities] = field(default_factory=dict)

    def copy(self) -> "State":
        """The same, to come back to."""
        tables = {one.name: getattr(self, one.name) for one in fields(self)}
        return State(tables.pop("now"), **{name: dict(table) for name, table in tables.items()})

    def job(self, job_id: JobId) -> Job:
        """The job as callers see it. Raises JobNotFound."""
        if job_id not in self.jobs:
            raise JobNotFound(f"there is no job {job_id}")
        life = self.lives[job_id]
        return replace(
            self.jobs[job_id],
            status=life.status,
            cancel_requested=life.cancel_requested,
            error=life.error,
            started_at=life.started_at,
            finished_at=life.finished_at,
            progress=self._progress(life),
        )

    def shards_of(self, job_id: JobId) -> list[ShardState]:
        """The job's shards in their order."""
        return [shard for (job, _), shard in sorted(self.shards.items()) if job == job_id]

    def held(self, lease: Lease) -> ShardState:
        """The leased shard. Raises LeaseLost where it is not the worker's any more."""
        shard = self.shards.get((lease.job_id, lease.shard))
        held = None if shard is None else (shard.epoch, shard.worker_id, shard.status)
        if shard is None or held != (lease.epoch, lease.worker_id, ShardStatus.RUNNING):
            raise LeaseLost(f"{lease.worker_id} no longer holds shard {lease.shard} of {lease.job_id}")
        return shard

    def put_record(self, lease: Lease, **changes: Any) -> None:
        """Change what is stored of a shard."""
        key = (lease.job_id, lease.shard)
        self.records[key] = replace(self.records[key], **changes)

    def apply(self, changes: Changes) -> None:
        """Write what was decided, and whether the job has ended with it."""
        job_id = changes.job.id
        if changes.shard is not None:
            self.shards[job_id, changes.shard.shard] = changes.shard
        self.lives[job_id] = changes.job
        if changes.siblings is not None:
            for shard in self.shards_of(job_id):
                self.shards[job_id, shard.shard] = self._sibling(shard, changes.siblings)
        for entry in changes.entries:
            self.append(job_id, entry)
        if changes.settling is not None:
            counts, progress = self._counts(job_id), self.job(job_id).progress
            self.apply(settle(changes.job, counts, changes.settling, progress=progress, now=self.now()))

    def append(self, job_id: JobId, entry: Entry) -> None:
        """Add an entry to the log, as it looks after a passage through JSON."""
        log = self.events.get(job_id, ())
        data = orjson.loads(orjson.dumps(dict(entry.data)))
        event = Event(sequence=len(log) + 1, type=entry.type, created_at=self.now(), data=data)
        self.events[job_id] = (*log, event)

    def charge(self, tokens: int) -> None:
        """Add tokens to the project's count for today (UTC)."""
        self.tokens[self.now().astimezone(UTC).date()] = self.tokens_today() + max(0, tokens)

    def tokens_today(self) -> int:
        """What was charged since midnight."""
        return self.tokens.get(self.now().astimezone(UTC).date(), 0)

    def seconds_left_today(self) -> float:
        """Until midnight (UTC)."""
        now = self.now().astimezone(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return (midnight - now).total_seconds()

    def elapsed_seconds(self, life: JobState) -> float | None:
        """Seconds since the job began, those of pauses not counted; None where it has not."""
        if life.started_at is None:
            return None
        return ((life.paused_at or self.now()) - life.started_at).total_seconds() - life.paused_seconds

    def _sibling(self, shard: ShardState, siblings: Siblings) -> ShardState:
        match siblings:
            case Siblings.UNBLOCK:
                is_blocked = shard.status is ShardStatus.BLOCKED
                return replace(shard, status=ShardStatus.QUEUED) if is_blocked else shard
            case Siblings.CANCEL_IDLE:
                idle = replace(shard, status=ShardStatus.CANCELLED, worker_id=None, lease_until=None)
                return idle if shard.is_idle(self.now()) else shard
            case _:
                assert_never(siblings)

    def _counts(self, job_id: JobId) -> ShardCounts:
        statuses = [shard.status for shard in self.shards_of(job_id)]
        waiting = sum(status in WAITING_SHARD for status in statuses)
        succeeded = statuses.count(ShardStatus.SUCCEEDED)
        return ShardCounts(waiting, statuses.count(ShardStatus.RUNNING), succeeded, len(statuses))

    def _progress(self, life: JobState) -> Progress:
        pairs = [(shard, self.records[life.id, shard.shard].progress) for shard in self.shards_of(life.id)]
        rows = sum(shard.rows for shard, _ in pairs)
        known = [(progress.utility, shard.rows) for shard, progress in pairs if progress.utility is not None]
        weight = sum(size for _, size in known)
        return Progress(
            rows=rows,
            utility=sum(utility * size for utility, size in known) / weight if weight else None,
            **{name: sum(getattr(progress, name) for _, progress in pairs) for name in SUMMED},
        )
