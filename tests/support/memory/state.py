"""The data of the in-memory store, and how it applies the changes that `service.lifecycle` decides."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, assert_never

import orjson

from service.errors import JobNotFound, LeaseLost
from service.identifiers import BackendId, DatasetId, JobId, Row
from service.lifecycle import WAITING_WORK, Changes, Entry, JobState, Siblings, WorkCounts, WorkState, settle
from service.records.jobs import Event, Job, NewDataset, NewRow, Progress, SearchPace, TrainingPace
from service.records.labels import LabelState
from service.records.scoring import BackendIdentity
from service.records.trainings import TrainingReport
from service.records.work import Lease, WorkStatus
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.prompting.recall import PromptKey
from service.storage.records import SUMMED, WorkLeft, eta_seconds, seconds_of_trainings


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """A shard's stored data beside its work item's state."""

    queued_at: datetime
    rows: int
    checkpoint: bytes | None = None
    progress: Progress = field(default_factory=Progress)
    remembered: int = 0
    modelled: bool = False
    summary: Mapping[str, Any] | None = None
    server_crashes: Mapping[str, int] = field(default_factory=dict)
    pace: SearchPace | TrainingPace | None = None


@dataclass
class State:
    """All tables. Values are replaced and never changed, so that a copy of the mappings is a snapshot."""

    now: Callable[[], datetime]
    datasets: dict[DatasetId, NewDataset] = field(default_factory=dict)
    rows: dict[DatasetId, tuple[NewRow, ...]] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)  # as created
    lives: dict[JobId, JobState] = field(default_factory=dict)
    items: dict[tuple[JobId, int], WorkState] = field(default_factory=dict)
    shards: dict[tuple[JobId, int], ShardRecord] = field(default_factory=dict)
    labels: dict[tuple[JobId, Row], LabelState] = field(default_factory=dict)
    events: dict[JobId, tuple[Event, ...]] = field(default_factory=dict)
    tokens: dict[date, int] = field(default_factory=dict)
    backends: dict[BackendId, BackendIdentity] = field(default_factory=dict)
    answers: dict[tuple[BackendId, PromptKey], LogProbabilities] = field(default_factory=dict)
    trainings: dict[JobId, TrainingReport] = field(default_factory=dict)  # that have succeeded

    def copy(self) -> "State":
        """A snapshot, to roll back to."""
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

    def items_of(self, job_id: JobId) -> list[WorkState]:
        """The job's work items in their order."""
        return [self.items[key] for key in sorted(self.items) if key[0] == job_id]

    def held(self, lease: Lease) -> WorkState:
        """The lease's work item. Raises LeaseLost if the lease is not current."""
        item = self.items.get((lease.job_id, lease.number))
        held = None if item is None else (item.epoch, item.worker_id, item.status)
        if item is None or held != (lease.epoch, lease.worker_id, WorkStatus.RUNNING):
            raise LeaseLost(f"{lease.worker_id} no longer holds item {lease.number} of {lease.job_id}")
        return item

    def put_record(self, lease: Lease, **changes: Any) -> None:
        """Change fields of a shard's record."""
        key = (lease.job_id, lease.number)
        self.shards[key] = replace(self.shards[key], **changes)

    def apply(self, changes: Changes) -> None:
        """Write changes, and end the job if its items call for that."""
        job_id = changes.job.id
        if changes.work is not None:
            self.items[job_id, changes.work.number] = changes.work
        self.lives[job_id] = changes.job
        if changes.siblings is not None:
            for item in self.items_of(job_id):
                self.items[job_id, item.number] = self._sibling(item, changes.siblings)
        for entry in changes.entries:
            self.append(job_id, entry)
        if changes.settling is not None:
            counts, progress = self._counts(job_id), asdict(self.job(job_id).progress)
            self.apply(settle(changes.job, counts, changes.settling, progress=progress, now=self.now()))

    def append(self, job_id: JobId, entry: Entry) -> None:
        """Add an entry to the log, converted to JSON and back."""
        log = self.events.get(job_id, ())
        data = orjson.loads(orjson.dumps(dict(entry.data)))
        event = Event(sequence=len(log) + 1, type=entry.type, created_at=self.now(), data=data)
        self.events[job_id] = (*log, event)

    def charge(self, tokens: int) -> None:
        """Add tokens to the project's count for today (UTC)."""
        self.tokens[self.now().astimezone(UTC).date()] = self.tokens_today() + max(0, tokens)

    def tokens_today(self) -> int:
        """The project's computed tokens since midnight (UTC)."""
        return self.tokens.get(self.now().astimezone(UTC).date(), 0)

    def seconds_left_today(self) -> float:
        """Seconds until midnight (UTC)."""
        now = self.now().astimezone(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return (midnight - now).total_seconds()

    def elapsed_seconds(self, life: JobState) -> float | None:
        """Seconds since the job started, without its pauses; None before the start."""
        if life.started_at is None:
            return None
        return ((life.paused_at or self.now()) - life.started_at).total_seconds() - life.paused_seconds

    def _sibling(self, item: WorkState, siblings: Siblings) -> WorkState:
        match siblings:
            case Siblings.UNBLOCK:
                is_blocked = item.status is WorkStatus.BLOCKED
                return replace(item, status=WorkStatus.QUEUED) if is_blocked else item
            case Siblings.CANCEL_IDLE:
                idle = replace(item, status=WorkStatus.CANCELLED, worker_id=None, lease_until=None)
                return idle if item.is_idle(self.now()) else item
            case _:
                assert_never(siblings)

    def _counts(self, job_id: JobId) -> WorkCounts:
        statuses = [item.status for item in self.items_of(job_id)]
        waiting = sum(status in WAITING_WORK for status in statuses)
        succeeded = statuses.count(WorkStatus.SUCCEEDED)
        return WorkCounts(waiting, statuses.count(WorkStatus.RUNNING), succeeded, len(statuses))

    def _progress(self, life: JobState) -> Progress:
        shards = [self.shards[life.id, item.number] for item in self.items_of(life.id)]
        rows = sum(shard.rows for shard in shards)
        known = [(one.progress.utility, one.rows) for one in shards if one.progress.utility is not None]
        weight = sum(size for _, size in known)
        return Progress(
            rows=rows,
            utility=sum(utility * size for utility, size in known) / weight if weight else None,
            eta_seconds=self._seconds_left(life, shards),
            **{name: sum(getattr(one.progress, name) for one in shards) for name in SUMMED},
        )

    def _seconds_left(self, life: JobState, shards: list[ShardRecord]) -> float | None:
        config, elapsed = self.jobs[life.id].config, self.elapsed_seconds(life)
        if config.trains:
            pace = shards[0].pace
            return seconds_of_trainings(life.status, elapsed, pace if isinstance(pace, TrainingPace) else None)
        return eta_seconds(life.status, elapsed, self._work_left(life), config)

    def _work_left(self, life: JobState) -> WorkLeft:
        items = [(item, self.shards[life.id, item.number]) for item in self.items_of(life.id)]
        done = [shard for item, shard in items if item.status is WorkStatus.SUCCEEDED]
        open_ = [shard for item, shard in items if item.status is not WorkStatus.SUCCEEDED]
        paces = [shard.pace for shard in open_ if isinstance(shard.pace, SearchPace)]
        waiting = [shard for shard in open_ if not isinstance(shard.pace, SearchPace)]
        later = [shard for shard in done if shard.progress.prompts and shard is not items[0][1]]
        return WorkLeft(
            prompts=sum(shard.progress.prompts for _, shard in items),
            tokens_computed=sum(shard.progress.tokens_computed for _, shard in items),
            prompts_left=sum(pace.prompts_left for pace in paces),
            prompts_under_way=sum(pace.prompts_under_way for pace in paces),
            prompts_per_query=max((pace.prompts_per_query for pace in paces), default=0),
            waiting_rows=sum(shard.rows for shard in waiting),
            waiting_shards=len(waiting),
            later_rows=sum(shard.rows for shard in later),
            later_prompts=sum(shard.progress.prompts for shard in later),
        )
