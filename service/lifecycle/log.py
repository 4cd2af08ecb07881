"""Composes the entries of a job's event log, and the job's errors."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.lifecycle.changes import Entry
from service.lifecycle.messages import is_reported, job_message
from service.lifecycle.states import JobState, WorkState
from service.records.jobs import JobStatus, PauseReason
from service.records.work import JOB_KINDS
from service.values import counted

# Retention keeps these as long as the job, so that late readers of the log learn of its start, its parts and its end.
RETAINED_EVENTS = (
    "job.created",
    *(f"{kind.noun}.finished" for kind in JOB_KINDS),
    "job.succeeded",
    "job.failed",
    "job.cancelled",
)

PAUSED_ON_REQUEST = "paused on request; the job goes on once it is resumed"


def entry(event_type: str, data: Mapping[str, Any], job: JobState, now: datetime) -> Entry:
    """An entry of the log, with a message if webhooks report it."""
    return Entry(event_type, data, job_message(event_type, now, job) if is_reported(event_type) else None)


def created(job: JobState, size: Mapping[str, Any], now: datetime) -> Entry:
    """The first entry of a job's log, with the job's size."""
    return entry("job.created", size, job, now)


def crash_error(work: WorkState, crashes: int) -> dict[str, str]:
    """The job's error after too many crashes of a work item without progress in between."""
    return {
        "code": "worker_crashed",
        "message": (
            f"{work.kind.noun} {work.number} was given up after {counted(crashes, 'worker')} ended on it"
            " without any progress in between"
        ),
    }


def paused(reason: PauseReason, message: str, retry_at: datetime | None) -> dict[str, Any]:
    """The data of `job.paused`. `retry_at` is when a worker first tries to resume the job."""
    when = None if retry_at is None else retry_at.isoformat()
    return {"status": JobStatus.PAUSED.value, "reason": reason.value, "message": message, "retry_at": when}


def settled(job: JobState, progress: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the entry that ends a job."""
    data = {"status": job.status.value, "progress": {**progress, "eta_seconds": 0.0}}
    return data if job.error is None else {**data, "error": dict(job.error)}
