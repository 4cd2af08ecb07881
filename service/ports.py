"""What the use cases need from the outside, as Protocols cut to their users.

Two units of work share one database. The desk is what the API needs: it can read gold.
The workbench is what workers need: it has no way to gold, and every write is fenced by a
lease (a write under an outdated epoch raises LeaseLost and changes nothing).
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.entities import (
    Backoff,
    ClaimedShard,
    Event,
    Job,
    JobStatus,
    LabeledRow,
    LabelState,
    Lease,
    NewDataset,
    NewRow,
    NewShard,
    PauseReason,
    Progress,
    ShardRow,
    ShardStatus,
)
from service.identifiers import BackendId, DatasetId, JobId, Label, Row, WorkerId
from service.search.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage
from service.search.recall import Answers, PromptKey


class Datasets(Protocol):
    """Data sets and their rows; gold goes into a table of its own."""

    async def add(self, dataset: NewDataset) -> None:
        """Store a data set without its rows."""

    async def add_rows(self, dataset_id: DatasetId, rows: Sequence[NewRow]) -> None:
        """Store a chunk of rows."""


class Jobs(Protocol):
    """Jobs as the API sees them."""

    async def add(self, job: Job, shards: Sequence[NewShard]) -> None:
        """Store a job and queue its shards; workers are notified when the transaction commits."""

    async def get(self, job_id: JobId) -> Job:
        """The job with its progress summed over shards. Raises JobNotFound."""

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Job]:
        """Jobs, newest first, older than the (created_at, id) given."""

    async def request_cancel(self, job_id: JobId) -> Job:
        """Ask for the job to stop. Repeated, the same answer. Raises JobNotFound, JobFinished.

        A job none of whose shards is leased is cancelled at once, any other as soon as the last
        worker has let go. A job that was cancelled is not JobFinished here.
        """

    async def remove(self, job_id: JobId) -> None:
        """Delete a finished job with its rows, labels and events. Raises JobNotFound, WrongState."""

    async def columns(self, job_id: JobId) -> tuple[tuple[str, ...], str | None]:
        """The data set's columns in the user's order, and the name of its gold column."""


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

    def result(self, job_id: JobId) -> AsyncIterator[LabeledRow]:
        """Every row with its label state in the user's order, streamed from the database. Raises JobNotFound."""


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


@dataclass(frozen=True)
class StoredRequest:
    """What an Idempotency-Key was used for."""

    sha256: str
    job_id: JobId


class Idempotency(Protocol):
    """Which requests have been served already."""

    async def claim(self, key: str, sha256: str, job_id: JobId) -> StoredRequest | None:
        """Take the key for this job, or give back what it was used for; rivals wait for each other."""


class Backends(Protocol):
    """What scoring backends were when jobs were made."""

    async def recognized(self, identity: "BackendIdentity") -> BackendId:
        """The oldest stored identity that agrees with this one; where there is none, it is stored."""


class Desk(Protocol):
    """One unit of work for the API."""

    datasets: Datasets
    jobs: Jobs
    labels: LabelsRead
    gold: Gold
    events: Events
    idempotency: Idempotency
    backends: Backends


class Shards(Protocol):
    """The queue: shards are leased to workers."""

    async def claim(self, worker_id: WorkerId, lease_seconds: float) -> ClaimedShard | None:
        """Lease the oldest queued shard, or one whose lease has run out; None where there is none.

        A lease that has run out counts as a crash, which the next save that advances forgives.
        A shard that crashed its workers too often without progress is failed instead.
        """

    async def renew(self, lease: Lease, lease_seconds: float) -> bool:
        """Renew the lease; says whether to stop, since the job is to be cancelled or has failed. Raises LeaseLost."""

    async def save(self, lease: Lease, *, checkpoint: bytes, progress: Progress) -> None:
        """Record how far the shard has come, with a `job.progress` event. Raises LeaseLost."""

    async def finish(
        self,
        lease: Lease,
        status: ShardStatus,
        *,
        error: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> JobStatus:
        """End the shard; the job's status after it. The summary goes into the event `shard.finished`.

        The anchor's success unblocks the others; the last success ends the job; a failure
        ends the job and all its shards that are not running; a cancellation does so once no
        shard is running. Raises LeaseLost.
        """

    async def release(self, lease: Lease, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
        """Give the shard back to the queue, to be gone on with after the delay. Raises LeaseLost.

        `crashed` counts as a crash of the worker: too many without progress fail the shard.
        """

    async def spend(self, lease: Lease, usage: Usage, *, remembered: int) -> None:
        """Record what the shard has cost so far, and how many prompts memory has answered. Raises LeaseLost.

        Unlike `save` it says nothing of how far the search has come, and adds no event.
        """

    async def pause(
        self, claimed: ClaimedShard, reason: PauseReason, message: str, *, backoff: Backoff, at_least_seconds: float
    ) -> None:
        """Give the shard back and let the job wait. Raises LeaseLost.

        A running job becomes paused, with a `job.paused` event. None of its shards can be claimed
        until the wait is over, and then one at a time, to see whether the job can go on; where it
        can't, it is paused again without an event, for longer.
        """

    async def resume(self, claimed: ClaimedShard) -> None:
        """What the job has waited for is there: all of its shards can be claimed again. Raises LeaseLost.

        The events are `job.resumed` and then this shard's `shard.started`.
        """

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


class EventsWrite(Protocol):
    """The event log as workers write it."""

    async def append(self, lease: Lease, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event to the job's log. Raises LeaseLost."""


@dataclass(frozen=True, slots=True)
class KnownBackend:
    """The backend that a job began with."""

    id: BackendId
    identity: "BackendIdentity"


class BackendsOfJobs(Protocol):
    """What scoring backends were, as workers see it."""

    async def of_job(self, lease: Lease, measured: "BackendIdentity") -> KnownBackend:
        """The backend that the job began with; a job that has none begins with this one. Raises LeaseLost."""


class RememberedAnswers(Protocol):
    """What backends have answered to prompts."""

    async def recall(self, backend_id: BackendId, keys: Collection[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """The answers to those of the prompts that are remembered."""

    async def record(self, lease: Lease, backend_id: BackendId, answers: Answers) -> dict[PromptKey, LogProbabilities]:
        """Remember these answers; those that count from now on. Raises LeaseLost.

        Where another answer to the same prompt is remembered already, it stays and is given back.
        """

    async def last_beyond(self, max_answers: int) -> int | None:
        """The number of the newest answer that is beyond so many newer ones; None where there are fewer."""

    async def forget(self, last: int, *, at_most: int) -> int:
        """Drop the oldest answers up to this number; how many were dropped."""


class Workbench(Protocol):
    """One unit of work for a worker."""

    shards: Shards
    rows: ShardRows
    labels: LabelsWrite
    events: EventsWrite
    backends: BackendsOfJobs
    answers: RememberedAnswers


class Store(Protocol):
    """Opens units of work: committed when left cleanly, rolled back on any exception."""

    def desk(self) -> AbstractAsyncContextManager[Desk]:
        """A unit of work for the API."""

    def workbench(self) -> AbstractAsyncContextManager[Workbench]:
        """A unit of work for a worker."""

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when shards may have been queued, or after the time-out."""

    async def wait_for_events(self, job_id: JobId, timeout_seconds: float) -> None:
        """Return when the job may have new events, or after the time-out; sooner without a reason at times."""

    async def ping(self) -> None:
        """Raises StorageUnavailable where the database cannot be reached or is not migrated."""

    async def close(self) -> None:
        """Release every connection."""


@dataclass(frozen=True, slots=True)
class BackendIdentity:
    """What decides a backend's scores: labels of two identities must never be mixed.

    `fingerprint` names kind, model, revision and server version. `canary` has the log-probabilities
    (nats) that the backend gives to the likeliest token after a few fixed prompts, so that other
    weights under the same name are noticed.
    """

    fingerprint: str
    canary: tuple[float, ...] = ()

    def agrees_with(self, other: "BackendIdentity", *, tolerance_nats: float = 0.25) -> bool:
        """Whether both are the same model on the same server; half precision moves a canary by less."""
        return (
            self.fingerprint == other.fingerprint
            and len(self.canary) == len(other.canary)
            and all(abs(one - two) <= tolerance_nats for one, two in zip(self.canary, other.canary, strict=True))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """What the probe found out about a scoring backend; None where it could not be found out.

    `problems` keep it from serving the labels it was asked about, each with what to change;
    `advice` is what would make it faster or its scores steadier.
    """

    name: str
    kind: str
    ready: bool
    reachable: bool = True  # false where the problem may go away by itself
    model: str | None = None
    revision: str | None = None
    server_version: str | None = None
    context_tokens: int | None = None
    max_concurrent_requests: int | None = None
    reports_tokens_computed: bool = False
    replicas: int = 1
    token_id_prompts: bool | None = None  # prompts travel as token ids
    tokenizer_agrees: bool | None = None  # encode(prompt + label) == encode(prompt) + encode(label)
    max_top_tokens: int | None = None  # the most alternatives that one call names
    prefix_cache: bool | None = None  # a prompt sent twice is not computed twice
    cache_block_tokens: int | None = None
    repeat_difference_nats: float | None = None  # between two identical calls
    warm_difference_nats: float | None = None  # between a prompt computed anew and from the prefix cache
    problems: tuple[str, ...] = field(default=())
    advice: tuple[str, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """Names what decides the scores: kind, model, revision and server version."""
        return "|".join(str(part) for part in (self.kind, self.model, self.revision, self.server_version))


class Scorer(Protocol):
    """A scoring backend: answers prompt trees.

    With `all_spellings`, the probability of a label is that of all its spellings: as it is, in
    lower case, in upper case and with a capital, each with a space before it and without.
    """

    async def probe(self, labels: Sequence[str] = (), *, all_spellings: bool = False) -> BackendInfo:
        """Find out what the backend is and whether it can serve these labels; problems are in the answer."""

    async def identify(self) -> BackendIdentity:
        """What decides the scores just now.

        Cheap: the canary is measured anew only after a connection broke, or once it is old.

        Raises BackendUnavailable.
        """

    async def score(self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False) -> TreeScores:
        """log p(label | prompt) for every query of the tree. Raises BackendError; never makes up a number."""

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text by the backend's tokenizer, special tokens not counted."""

    async def close(self) -> None:
        """Release every connection."""


class Scorers(Protocol):
    """The scoring backends the operator configured, by name."""

    def names(self) -> Sequence[str]:
        """All names, the default first."""

    def get(self, name: str) -> Scorer:
        """The backend of this name. Raises ModelNotFound."""
