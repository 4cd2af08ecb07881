"""What the use cases need from the outside, as Protocols cut to their users.

Three units of work share one database. The project unit is what the API needs: it can read gold, and it
knows one project only, so that what belongs to others is not there. The access unit is for whoever lets
callers in: it knows the API keys of all projects and nothing of their jobs.
The worker unit is what workers need: it has no way to gold, and every write is fenced by a
lease (a write under an outdated epoch raises LeaseLost and changes nothing).
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
    NewDataset,
    NewJob,
    NewRow,
    NewShard,
    Progress,
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
    """Data sets and their rows; gold goes into a table of its own."""

    async def add(self, dataset: NewDataset) -> None:
        """Store a data set without its rows."""

    async def add_rows(self, dataset_id: DatasetId, rows: Sequence[NewRow]) -> None:
        """Store a chunk of rows."""


class Jobs(Protocol):
    """Jobs as the API sees them."""

    async def add(self, job: NewJob, shards: Sequence[NewShard]) -> None:
        """Store a job as of now and queue its shards; workers are notified when the transaction commits."""

    async def get(self, job_id: JobId) -> Job:
        """The job with its progress summed over shards. Raises JobNotFound."""

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Job]:
        """Jobs, newest first, older than the (created_at, id) given."""

    async def request_cancel(self, job_id: JobId) -> Job:
        """Ask for the job to stop. Repeated, the same answer. Raises JobNotFound, JobFinished.

        A job none of whose work items is leased is cancelled at once, any other as soon as the last
        worker has let go. A job that was cancelled is not JobFinished here.
        """

    async def pause(self, job_id: JobId) -> Job:
        """Let the job wait until a person resumes it. Repeated, the same answer. Raises JobNotFound, JobFinished.

        It is paused at once, with a `job.paused` event: no further item is claimed. Workers that hold
        one hear of it when they renew its lease, and give it back. Where all items that are left end
        before that, the job ends. What is being cancelled is JobFinished here.
        """

    async def resume(self, job_id: JobId) -> Job:
        """Let a paused job go on. Repeated, the same answer. Raises JobNotFound, JobFinished.

        What a person has paused is queued or running again, with a `job.resumed` event. A job that
        waits for its backend or for tokens is tried at once, and stays paused until a worker finds them there.
        """

    async def remove(self, job_id: JobId) -> None:
        """Delete a finished job with all that belongs to it, its Idempotency-Key too. Raises JobNotFound, WrongState.

        What was charged to the project stays charged.
        """

    async def columns(self, job_id: JobId) -> tuple[tuple[str, ...], str | None]:
        """The data set's columns in the user's order, and the name of its gold column."""

    async def summaries(self, job_id: JobId) -> Mapping[int, Mapping[str, Any] | None]:
        """What each shard that succeeded says of its search; None where an earlier release finished it."""

    async def arrow_schema(self, job_id: JobId) -> bytes | None:
        """The types of the data set's columns where its file had them, as an Arrow stream. Raises JobNotFound."""


class LabelsRead(Protocol):
    """Label states as the API sees them."""

    async def page(
        self, job_id: JobId, *, limit: int, after: tuple[float, int] | None, by_confidence: bool
    ) -> list[tuple[str, LabelState]]:
        """Row ids with their label states, by position or from the least confident on.

        Rows no worker has come to are among them, unlabeled. By confidence, rows without one
        come first and count as 0. `after` is (confidence, position) of the last one seen;
        confidence is ignored by position. Raises JobNotFound.
        """

    def result(
        self, job_id: JobId, *, after: int | None = None, limit: int | None = None
    ) -> AsyncGenerator[LabeledRow, None]:
        """Rows with their label states in the user's order, streamed from the database. Raises JobNotFound.

        All of them, or those behind a position, or the first of these.
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
    """Which requests have been served already."""

    async def find(self, key: str) -> StoredRequest | None:
        """What the key was used for; None where it was not, or not yet committed."""

    async def claim(self, key: str, sha256: str, job_id: JobId) -> StoredRequest | None:
        """Take the key for this job, or give back what it was used for; rivals wait for each other."""


class Backends(Protocol):
    """What scoring backends were when jobs were made."""

    async def recognized(self, identity: BackendIdentity) -> BackendId:
        """The oldest stored identity that agrees with this one; where there is none, it is stored."""


@dataclass(slots=True, kw_only=True)
class ProjectUnit:
    """One unit of work for the API, on behalf of one project: what belongs to others is not found."""

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


class News(Protocol):
    """Says when a job's events are worth another look."""

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there may be events since the last wait ended or the news began, or after the time-out.

        Whoever looks at the log between two waits misses nothing. It may return sooner without a reason.
        """


class ProjectStore(Protocol):
    """The store as one caller sees it; what the use cases of the API are given."""

    @property
    def caller(self) -> Caller:
        """On whose behalf units of work are opened."""

    @property
    def quotas(self) -> Quotas:
        """How much a project may have that has no quotas of its own."""

    def project_unit(self) -> AbstractAsyncContextManager[ProjectUnit]:
        """A unit of work on the caller's behalf."""

    async def is_welcome(self) -> bool:
        """Whether the caller's key is still good; for answers that go on for long."""

    def follow_events(self, job_id: JobId) -> AbstractContextManager[News]:
        """Hear of the job's events for as long as the context lasts."""


class Shards(Protocol):
    """What leased work items that label have of their own."""

    async def of(self, work: ClaimedWork) -> ClaimedShard:
        """The shard that a work item is about. Raises LeaseLost where it was deleted meanwhile."""

    async def save(self, lease: Lease, *, checkpoint: bytes, progress: Progress) -> None:
        """Record how far the shard has come, with a `job.progress` event. Raises LeaseLost."""

    async def spend(self, lease: Lease, usage: Usage, *, remembered: int) -> None:
        """Record what the shard has cost so far, and how many prompts memory has answered. Raises LeaseLost.

        Unlike `save` it says nothing of how far the search has come, and adds no event.
        """

    async def set_pace(self, lease: Lease, pace: TrainingPace | None) -> None:
        """Record how fast the trainings of the shard's search go; None while that is unknown. Raises LeaseLost."""

    async def summarize(self, lease: Lease, summary: Mapping[str, Any]) -> None:
        """Keep what the shard says of its search, for the report. Raises LeaseLost."""

    async def job_totals(self, job_id: JobId) -> tuple[int, float]:
        """Tokens computed by the whole job so far, and seconds since it started, those of pauses not counted."""


class ShardRows(Protocol):
    """The rows of a shard, without gold."""

    async def of(self, dataset_id: DatasetId, shard: int) -> list[ShardRow]:
        """The shard's rows in the user's order."""


class LabelsWrite(Protocol):
    """Label states as workers write them."""

    async def write(self, lease: Lease, states: Sequence[LabelState]) -> None:
        """Replace the label states of these rows. Raises LeaseLost."""

    async def of_shard(self, job_id: JobId, shard: int) -> dict[Row, Label]:
        """The labels found for a shard's rows."""

    async def unscorable(self, job_id: JobId, shard: int) -> dict[Row, str]:
        """The rows of a shard that the backend gives no scores for, each with the reason."""


class EventsWrite(Protocol):
    """The event log as workers write it."""

    async def append(self, lease: Lease, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event to the job's log. Raises LeaseLost."""


class BackendsOfJobs(Protocol):
    """What scoring backends were, as workers see it."""

    async def of_job(self, lease: Lease, measured: BackendIdentity) -> KnownBackend:
        """The backend that the job began with; a job that has none begins with this one. Raises LeaseLost."""


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
        """A unit of work for the API, which sees and makes what belongs to the caller's project."""

    def access_unit(self) -> AbstractAsyncContextManager[AccessUnit]:
        """A unit of work for whoever lets callers in."""

    def worker_unit(self) -> AbstractAsyncContextManager[WorkerUnit]:
        """A unit of work for a worker."""

    def upkeep(self) -> AbstractAsyncContextManager[RetentionStore]:
        """A unit of work for the maintainer."""

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when work may have been queued, or after the time-out."""

    def follow_events(self, job_id: JobId) -> AbstractContextManager[News]:
        """Hear of the job's events for as long as the context lasts."""

    @property
    def load(self) -> PoolLoad:
        """The connections to the database."""

    async def job_statistics(self) -> Mapping[WorkKind, JobStatistics]:
        """How many jobs and work items of each kind there are, and how long they wait. Raises StorageUnavailable."""

    async def ping(self) -> None:
        """Raises StorageUnavailable where the database cannot be reached or is not migrated."""

    async def close(self) -> None:
        """Release every connection."""
