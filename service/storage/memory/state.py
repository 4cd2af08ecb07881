"""What the twin remembers: tables of immutable values, and how to take back what a unit of work did."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Generic, TypeVar

from service.entities import (
    ApiKey,
    AuditEntry,
    Event,
    Job,
    JobStatus,
    LabelState,
    Lease,
    NewDataset,
    NewRow,
    PauseReason,
    Progress,
    Project,
    ShardStatus,
)
from service.errors import JobNotFound, LeaseLost
from service.identifiers import (
    DEFAULT_PROJECT,
    BackendId,
    DatasetId,
    DeliveryId,
    JobId,
    KeyId,
    ProjectName,
    Row,
    WebhookId,
    WorkerId,
)
from service.ports.scoring import BackendIdentity
from service.ports.store import StoredRequest
from service.ports.webhooks import Delivery, Webhook
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.prompting.recall import PromptKey

K = TypeVar("K")
V = TypeVar("V")
Undo = list[Callable[[], None]]


class Table(Generic[K, V]):
    """A mapping whose every change says how to take it back."""

    def __init__(self, undo: Undo) -> None:
        self._rows: dict[K, V] = {}
        self._undo = undo

    def get(self, key: K) -> V | None:
        """The value of this key, if there is one."""
        return self._rows.get(key)

    def items(self) -> list[tuple[K, V]]:
        """Everything, as it is now."""
        return list(self._rows.items())

    def put(self, key: K, value: V) -> None:
        """Add or replace."""
        if key in self._rows:
            before = self._rows[key]
            self._undo.append(lambda: self._rows.__setitem__(key, before))
        else:
            self._undo.append(lambda: self._forget(key))
        self._rows[key] = value

    def drop(self, key: K) -> None:
        """Remove, where there is something."""
        if key in self._rows:
            before = self._rows.pop(key)
            self._undo.append(lambda: self._rows.__setitem__(key, before))

    def _forget(self, key: K) -> None:
        del self._rows[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """A shard in the queue."""

    job_id: JobId
    index: int
    rows: int
    status: ShardStatus
    queued_at: datetime
    run_after: datetime
    epoch: int = 0
    worker_id: WorkerId | None = None
    lease_until: datetime | None = None
    crashes: int = 0
    progress: Progress = field(default_factory=Progress)
    checkpoint: bytes | None = None
    remembered: int = 0  # prompts answered from memory
    modelled: bool = False  # whether tokens computed are those of an ideal cache

    def is_held(self, lease: Lease) -> bool:
        """Whether the lease still stands."""
        held = (self.epoch, self.worker_id, self.status)
        return held == (lease.epoch, lease.worker_id, ShardStatus.RUNNING)

    def has_expired(self, now: datetime) -> bool:
        """Whether a worker let the lease run out."""
        return self.status is ShardStatus.RUNNING and self.lease_until is not None and self.lease_until < now


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRecord:
    """The pauses of a job."""

    reason: PauseReason | None = None  # while it is paused
    paused_at: datetime | None = None
    retry_at: datetime | None = None
    tries: int = 0  # in vain, since a shard was saved last
    paused_seconds: float = 0.0  # in pauses that are over


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An Idempotency-Key that was used."""

    request: StoredRequest
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """A remembered answer; the oldest have the lowest numbers."""

    number: int
    log_probabilities: LogProbabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A message in the outbox."""

    delivery: Delivery
    job_id: JobId | None
    body: bytes
    epoch: int = 0
    lease_until: datetime | None = None


class State:
    """All tables, with the undo log of the unit of work that is open."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._undo: Undo = []
        self.now = now
        self.datasets: Table[DatasetId, NewDataset] = Table(self._undo)
        self.rows: Table[DatasetId, tuple[NewRow, ...]] = Table(self._undo)  # without gold
        self.gold: Table[tuple[DatasetId, Row], bytes] = Table(self._undo)
        self.jobs: Table[JobId, Job] = Table(self._undo)  # without progress
        self.shards: Table[tuple[JobId, int], ShardRecord] = Table(self._undo)
        self.labels: Table[tuple[JobId, Row], LabelState] = Table(self._undo)
        self.events: Table[JobId, tuple[Event, ...]] = Table(self._undo)
        self.keys: Table[tuple[ProjectName, str], KeyRecord] = Table(self._undo)
        self.owners: Table[JobId | DatasetId | WebhookId, ProjectName] = Table(self._undo)
        self.api_keys: Table[KeyId, tuple[ApiKey, bytes]] = Table(self._undo)
        self.projects: Table[ProjectName, Project] = Table(self._undo)
        self.tokens: Table[tuple[ProjectName, date], int] = Table(self._undo)
        self.audit: Table[int, AuditEntry] = Table(self._undo)
        self.pauses: Table[JobId, PauseRecord] = Table(self._undo)
        self.backends: Table[BackendId, BackendIdentity] = Table(self._undo)
        self.answers: Table[tuple[BackendId, PromptKey], AnswerRecord] = Table(self._undo)
        self.webhooks: Table[WebhookId, Webhook] = Table(self._undo)
        self.deliveries: Table[DeliveryId, DeliveryRecord] = Table(self._undo)
        self.last_answer = 0
        self.add_project(DEFAULT_PROJECT)
        self.changed_jobs: set[JobId] = set()  # those with new events
        self.work_queued = False

    def open_unit(self) -> None:
        """Start to remember what the unit of work does."""
        self._undo.clear()
        self.changed_jobs.clear()
        self.work_queued = False

    def roll_back(self) -> None:
        """Take everything back since `open_unit`, the last change first."""
        for undo in reversed(tuple(self._undo)):
            undo()
        self.open_unit()

    def add_project(self, name: ProjectName) -> None:
        """Remember a project, where it is new."""
        if self.projects.get(name) is None:
            self.projects.put(name, Project(name=name, created_at=self.now(), quotas={}))

    def enter(self, entry: AuditEntry) -> None:
        """Add an entry to the audit log."""
        number = max((number for number, _ in self.audit.items()), default=-1) + 1
        self.audit.put(number, replace(entry, at=self.now()))

    def job(self, job_id: JobId) -> Job:
        """The job without its progress. Raises JobNotFound."""
        job = self.jobs.get(job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job

    def own_job(self, project: ProjectName, job_id: JobId) -> Job:
        """The same where it is the project's. Raises JobNotFound."""
        if self.owners.get(job_id) != project:
            raise JobNotFound(f"there is no job {job_id}")
        return self.job(job_id)

    def owner_of(self, job_id: JobId) -> ProjectName:
        """The project that the job belongs to. Raises JobNotFound."""
        owner = self.owners.get(job_id)
        if owner is None:
            raise JobNotFound(f"there is no job {job_id}")
        return owner

    def drop_deliveries_of(self, job_id: JobId) -> None:
        """Forget every message about a job."""
        for delivery_id, record in self.deliveries.items():
            if record.job_id == job_id:
                self.deliveries.drop(delivery_id)

    def pause_of(self, job_id: JobId) -> PauseRecord:
        """The job's pauses so far."""
        return self.pauses.get(job_id) or PauseRecord()

    def may_be_tried(self, job_id: JobId) -> bool:
        """Whether the job is not paused, or its wait is over."""
        if self.job(job_id).status is not JobStatus.PAUSED:
            return True
        retry_at = self.pause_of(job_id).retry_at
        return retry_at is not None and retry_at <= self.now()

    def is_on_hold(self, job_id: JobId) -> bool:
        """Whether a person has paused the job."""
        return self.pause_of(job_id).reason is PauseReason.REQUESTED

    def shards_of(self, job_id: JobId) -> list[ShardRecord]:
        """The job's shards in their order."""
        return sorted(
            (record for (job, _), record in self.shards.items() if job == job_id), key=lambda record: record.index
        )

    def put_shards(self, records: Iterable[ShardRecord]) -> None:
        """Add or replace shards."""
        for record in records:
            self.shards.put((record.job_id, record.index), record)

    def held(self, lease: Lease) -> ShardRecord:
        """The leased shard. Raises LeaseLost where it is not the worker's any more."""
        record = self.shards.get((lease.job_id, lease.shard))
        if record is None or not record.is_held(lease):
            raise LeaseLost(f"{lease.worker_id} no longer holds shard {lease.shard} of {lease.job_id}")
        return record
