"""Records of what components report to observers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from service.records.jobs import JobStatus
from service.records.work import WorkStatus


class TurnEnd(StrEnum):
    """How a worker's run of a work item ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # for good, and the job with it
    GIVEN_BACK = "given_back"  # at a request that the worker or the job stop or wait
    PAUSED = "paused"  # the backend is unavailable, or no tokens are left today; the job waits
    CRASHED = "crashed"  # an unforeseen error; tried again, within limits
    LEASE_LOST = "lease_lost"  # another worker continues
    STORAGE_LOST = "storage_lost"  # the database was unavailable; the lease expires by itself
    INTERRUPTED = "interrupted"  # the worker itself was cancelled


class CallEnd(StrEnum):
    """How a call to an inference server ended."""

    ANSWERED = "answered"
    REFUSED = "refused"  # asking again would not help
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed_out"
    DISCONNECTED = "disconnected"
    SERVER = "server"  # the server reports a failure of its own
    MALFORMED = "malformed"  # an answer that cannot be read
    DROPPED = "dropped"  # the caller no longer waits for the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatistics:
    """Present numbers of jobs of one kind, over all projects."""

    jobs: Mapping[JobStatus, int] = field(default_factory=dict)
    items: Mapping[WorkStatus, int] = field(default_factory=dict)  # of jobs that have not ended
    oldest_queued_seconds: float = 0.0  # the longest wait of a claimable item; 0 if none waits
    crashes: int = 0  # of items of jobs that have not ended, since each was saved last
