"""Records of work of any kind: the items of the lease queue, as they are stored and as workers claim them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.identifiers import JobId, ProjectName, WorkerId


class WorkKind(StrEnum):
    """A kind of work for workers."""

    LABEL = "label"  # search the labels of a shard of a data set
    TRAIN = "train"  # train a language model
    DELIVER = "deliver"  # send messages to webhooks; they wait in an outbox of their own

    @property
    def noun(self) -> str:
        """The name of one piece of it, in logs."""
        return _NOUNS[self]


_NOUNS = {WorkKind.LABEL: "shard", WorkKind.TRAIN: "training", WorkKind.DELIVER: "delivery"}
JOB_KINDS = (WorkKind.LABEL, WorkKind.TRAIN)  # kinds of jobs, whose work items are in the lease queue


class WorkStatus(StrEnum):
    """The state of a work item."""

    BLOCKED = "blocked"  # waits for another item of its job: a shard for the anchor's labels
    QUEUED = "queued"  # any worker may claim it
    RUNNING = "running"  # leased to a worker
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WorkOutcome(StrEnum):
    """How a handler's run ended."""

    SUCCEEDED = "succeeded"  # the item is finished and recorded as such
    STOPPED = "stopped"  # stopped on request; everything up to the last step is saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The request that created a job, so that logs and traces lead from one to the other."""

    request_id: str | None = None
    traceparent: str | None = None  # the request's span, as W3C Trace Context has it


UNKNOWN_ORIGIN = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWork:
    """A work item about to be queued."""

    number: int  # within its job, from 0
    payload: Mapping[str, Any]  # the work in a few words, which the job's log repeats
    blocked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of one worker to write one work item, as long as the epoch stands."""

    job_id: JobId
    number: int
    epoch: int
    worker_id: WorkerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedWork:
    """A work item as the queue gives it to a worker; its kind's handler looks up the rest."""

    lease: Lease
    kind: WorkKind
    project: ProjectName  # the job's owner
    payload: Mapping[str, Any]
    checkpoint: bytes | None = None  # where an earlier worker stopped
    crashes: int = 0  # since it advanced last
    paused: bool = False  # the job waits for its backend or tokens; this worker tries to resume it
    origin: Origin = UNKNOWN_ORIGIN
