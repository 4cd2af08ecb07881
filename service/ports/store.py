"""The store that the use cases need, as Protocols with one part for each kind of data.

Three units of work share one database. The API's project unit can read gold, and it sees one project only: data of
other projects is not found. The access unit authenticates callers: it knows the API keys of all projects and no jobs.
The worker unit has no access to gold, and a lease fences every write: a write under an outdated epoch raises
LeaseLost and changes nothing.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from service.identifiers import BackendId, DatasetId, JobId, Label, Row
from service.ports.access import AccessUnit, Account, Audit, Spendings
from service.ports.answers import RememberedAnswers
from service.ports.observers import PoolLoad
from service.ports.retention import RetentionStore
from service.ports.trainings import Trainings, TrainingsWrite
from service.ports.webhooks import Deliveries, Webhooks
from service.ports.work import Work
from service.records.access import Caller, Quotas
from service.records.jobs import (
    ClaimedShard,
    Event,
    Job,
    JobStatus,
    KnownBackend,
    ListedJob,
    NewDataset,
    NewJob,
    NewRow,
    NewShard,
    Progress,
    SearchPace,
    ShardRow,
    StoredRequest,
    TrainingPace,
)
from service.records.labels import LabeledRow, LabelState
from service.records.observations import JobStatistics
from service.records.scoring import BackendIdentity
from service.records.work import ClaimedWork, Lease, WorkKind
from service.search.predictions.prompt_tree import Usage


class Datasets(Protocol):
    """Data sets and their rows; gold goes into a separate table."""

    async def add(self, dataset: NewDataset) -> None:
        """Store a data set without its rows."""

    async def add_rows(self, dataset_id: DatasetId, rows: Sequence[NewRow]) -> None:
        """Store a chunk of rows."""


class Jobs(Protocol):
    """A project's labelling jobs, for the API."""

    async def add(self, job: NewJob, shards: Sequence[NewShard]) -> None:
        """Store a new job and queue its shards; the store notifies workers when the transaction commits."""

    async def get(self, job_id: JobId) -> Job:
        """The job with its progress summed over shards. Raises JobNotFound."""

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[ListedJob]:
        """Jobs, newest first, older than the (created_at, id) given."""

    async def request_cancel(self, job_id: JobId) -> ListedJob:
        """Cancel the job. A repeated call returns the same job. Raises JobNotFound, JobFinished.

        A job without a leased work item is cancelled at once; any other when the last worker releases its item.
        A cancelled job does not raise JobFinished.
        """

    async def pause(self, job_id: JobId) -> ListedJob:
        """Pause the job until a person resumes it. A repeated call changes nothing. Raises JobNotFound, JobFinished.

        The job is paused at once, with a `job.paused` event: workers claim no further item. A worker that holds one
        learns of the pause when it renews the lease, and releases the item. If all items end before that, the job
        ends. A job that is being cancelled raises JobFinished.
        """

    async def resume(self, job_id: JobId) -> ListedJob:
        """Resume a paused job. A repeated call changes nothing. Raises JobNotFound, JobFinished.

        A job that a person paused is queued or running again, with a `job.resumed` event. A job that waits for its
        backend or for tokens stays paused until a worker finds them available; the next worker tries at once.
        """

    async def remove(self, job_id: JobId) -> None:
        """Delete a finished job with all its data and its Idempotency-Key. Raises JobNotFound, WrongState.

        The project's count of computed tokens stays.
        """

    async def columns(self, job_id: JobId) -> tuple[tuple[str, ...], str | None]:
        """The data set's columns in the user's order, and the name of its gold column."""

    async def summaries(self, job_id: JobId) -> Mapping[int, Mapping[str, Any] | None]:
        """The search summary of each shard that succeeded; None if an earlier release finished it."""

    async def arrow_schema(self, job_id: JobId) -> bytes | None:
        """The data set's column types as an Arrow stream; None if its file had none. Raises JobNotFound."""


class LabelsRead(Protocol):
    """Reads label states, for the API."""

    async def page(
        self, job_id: JobId, *, limit: int, after: tuple[float, int] | None, by_confidence: bool
    ) -> list[tuple[str, LabelState]]:
        """Row ids with their label states, sorted by position or by rising confidence. Raises JobNotFound.

        A row that no worker has labelled yet is unlabeled. By confidence, a row without one counts as 0. `after` is
        (confidence, position) of the last row of the page before; sorted by position, its confidence does not matter.
        """

    def result(
        self, job_id: JobId, *, after: int | None = None, limit: int | None = None
    ) -> AsyncGenerator[LabeledRow, None]:
        """Rows with their label states in the user's order, streamed from the database. Raises JobNotFound.

        `after` skips the rows up to this position, and `limit` is the largest number of rows.
        """


class Gold(Protocol):
    """Gold labels; only the report reads them."""

    def pairs(self, job_id: JobId) -> AsyncIterator[tuple[LabelState, str]]:
        """The label state and the gold value as text, for every row that has a gold value; JSON true is "True"."""


class Events(Protocol):
    """The event log of a job."""

    async def append(self, job_id: JobId, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event; its sequence number follows the commit order within the job."""

    async def after(self, job_id: JobId, sequence: int, *, limit: int) -> list[Event]:
        """Events with a higher sequence number, oldest first."""


class Idempotency(Protocol):
    """A project's Idempotency-Keys, so that a repeated request returns the job of the first one."""

    async def find(self, key: str) -> StoredRequest | None:
        """The request and job of the key; None if no committed request has used it."""

    async def claim(self, key: str, sha256: str, job_id: JobId) -> StoredRequest | None:
        """Store the key for this job and return None, or return its earlier use.

        Transactions with the same key wait for each other.
        """


class Backends(Protocol):
    """Identities of scoring backends, for the API."""

    async def recognized(self, identity: BackendIdentity) -> BackendId:
        """The oldest stored identity that agrees with this one; stores this one if none agrees."""


@dataclass(slots=True, kw_only=True)
class ProjectUnit:
    """One unit of work for the API, on behalf of one project; data of other projects is not found."""

    datasets: Datasets
    jobs: Jobs
    labels: LabelsRead
    gold: Gold
    events: Events
    idempotency: Idempotency
    account: Account
    audit: Audit
    backends: Backends
    webhooks: Webhooks
    trainings: Trainings


class EventSubscription(Protocol):
    """A reader's subscription to one job's events."""

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there may be new events since the last wait or the subscription's start, or after the time-out.

        A reader that reads the log between two waits misses no event. The wait may end early without a new event.
        """


class ProjectStore(Protocol):
    """The store on behalf of one caller, for the API's use cases."""

    @property
    def caller(self) -> Caller:
        """The caller on whose behalf the store opens units of work."""

    @property
    def quotas(self) -> Quotas:
        """The default quotas, for a project without its own."""

    def project_unit(self) -> AbstractAsyncContextManager[ProjectUnit]:
        """A unit of work on the caller's behalf."""

    async def is_welcome(self) -> bool:
        """Whether the caller's key is still valid; long streams check it again and again."""

    def follow_events(self, job_id: JobId) -> AbstractContextManager[EventSubscription]:
        """Subscribe to the job's events within the context."""


class Shards(Protocol):
    """The labelling data of shards, for the workers that lease them."""

    async def of(self, work: ClaimedWork) -> ClaimedShard:
        """The shard of a work item. Raises LeaseLost if somebody has deleted it."""

    async def save(self, lease: Lease, *, checkpoint: bytes, progress: Progress) -> None:
        """Save the shard's checkpoint and progress, with a `job.progress` event. Raises LeaseLost."""

    async def spend(self, lease: Lease, usage: Usage, *, remembered: int) -> None:
        """Record the shard's costs so far, and how many prompts the answer memory answered. Raises LeaseLost.

        Unlike `save` it records no progress of the search and adds no event.
        """

    async def set_pace(self, lease: Lease, pace: SearchPace | TrainingPace | None) -> None:
        """Record what the shard's search still asks or trains; None while that is unknown. Raises LeaseLost."""

    async def summarize(self, lease: Lease, summary: Mapping[str, Any]) -> None:
        """Store the summary of the shard's search for the report. Raises LeaseLost."""

    async def note_server_crashes(self, lease: Lease, counts: Mapping[str, int]) -> None:
        """Keep over which prompts the inference server crashed (`ServerCrashes.to_json`). Raises LeaseLost."""

    async def job_totals(self, job_id: JobId) -> tuple[int, float]:
        """The whole job's computed tokens, and its seconds since the start without pauses. Raises JobNotFound."""


class ShardRows(Protocol):
    """The rows of a shard, without gold."""

    async def of(self, dataset_id: DatasetId, shard: int) -> list[ShardRow]:
        """The shard's rows in the user's order."""


class LabelsWrite(Protocol):
    """Writes label states, for workers."""

    async def write(self, lease: Lease, states: Sequence[LabelState]) -> None:
        """Replace the label states of these rows. Raises LeaseLost."""

    async def of_shard(self, job_id: JobId, shard: int) -> dict[Row, Label]:
        """The labels of a shard's rows."""

    async def unscorable(self, job_id: JobId, shard: int) -> dict[Row, str]:
        """The rows of a shard that the backend cannot score, each with the reason."""


class EventsWrite(Protocol):
    """Appends to event logs, for workers."""

    async def append(self, lease: Lease, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event to the job's log. Raises LeaseLost."""


class BackendsOfJobs(Protocol):
    """Identities of the backends of jobs, for workers."""

    async def of_job(self, lease: Lease, measured: BackendIdentity) -> KnownBackend:
        """The backend that the job began with; a job without one begins with this one. Raises LeaseLost."""


@dataclass(slots=True, kw_only=True)
class WorkerUnit:
    """One unit of work for a worker."""

    work: Work
    shards: Shards
    rows: ShardRows
    labels: LabelsWrite
    events: EventsWrite
    backends: BackendsOfJobs
    answers: RememberedAnswers
    deliveries: Deliveries
    spendings: Spendings
    trainings: TrainingsWrite


class Store(Protocol):
    """Opens units of work: committed when left cleanly, rolled back on any exception."""

    def project_unit(self, caller: Caller) -> AbstractAsyncContextManager[ProjectUnit]:
        """A unit of work for the API, limited to the caller's project."""

    def access_unit(self) -> AbstractAsyncContextManager[AccessUnit]:
        """A unit of work for authentication and key management."""

    def worker_unit(self) -> AbstractAsyncContextManager[WorkerUnit]:
        """A unit of work for a worker."""

    def maintenance_unit(self) -> AbstractAsyncContextManager[RetentionStore]:
        """A unit of work for maintenance: it deletes data past its retention period."""

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when work may have been queued, or after the time-out."""

    def follow_events(self, job_id: JobId) -> AbstractContextManager[EventSubscription]:
        """Subscribe to the job's events within the context."""

    @property
    def load(self) -> PoolLoad:
        """How many connections to the database are in use."""

    async def job_statistics(self) -> Mapping[WorkKind, JobStatistics]:
        """Numbers of jobs and work items of each kind, and their longest wait. Raises StorageUnavailable."""

    async def ping(self) -> None:
        """Check the database. Raises StorageUnavailable if it is unreachable or not migrated."""

    async def close(self) -> None:
        """Release every connection."""
