"""What the log of a job says, and which errors a job has."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.lifecycle.changes import Entry
from service.lifecycle.messages import is_told, job_message
from service.lifecycle.states import JobState, WorkState
from service.records.jobs import JobStatus, PauseReason
from service.records.work import JOB_KINDS

# Entries that stay as long as the job: whoever follows the log late learns of its beginning, its parts and its end.
LASTING_EVENTS = (
    "job.created",
    *(f"{kind.noun}.finished" for kind in JOB_KINDS),
    "job.succeeded",
    "job.failed",
    "job.cancelled",
)

PAUSED_ON_REQUEST = "paused on request; the job goes on once it is resumed"


def entry(event_type: str, data: Mapping[str, Any], job: JobState, now: datetime) -> Entry:
    """An entry of the log, with the message for webhooks where they are told of it."""
    return Entry(event_type, data, job_message(event_type, now, job) if is_told(event_type) else None)


def created(job: JobState, size: Mapping[str, Any], now: datetime) -> Entry:
    """The first entry of a job's log; it says how much there is to do."""
    return entry("job.created", size, job, now)


def job_error(reason: PauseReason, message: str) -> dict[str, str]:
    """The job's error while it is paused."""
    return {"code": reason.value, "message": message}


def crash_error(work: WorkState, crashes: int) -> dict[str, str]:
    """The job's error where a work item ended too many workers without progress in between."""
    return {
        "code": "worker_crashed",
        "message": (
            f"{work.kind.noun} {work.number} was given up after {crashes} workers ended on it"
            " without any progress in between"
        ),
    }


def paused(reason: PauseReason, message: str, retry_at: datetime | None) -> dict[str, Any]:
    """The data of `job.paused`. `retry_at` is when a worker first tries whether the job can go on."""
    when = None if retry_at is None else retry_at.isoformat()
    return {"status": JobStatus.PAUSED.value, "reason": reason.value, "message": message, "retry_at": when}


def started(work: WorkState) -> dict[str, Any]:
    """The data of `shard.started`, or of another kind's event like it."""
    return {work.kind.noun: work.number, "epoch": work.epoch, "worker_id": work.worker_id, **work.payload}


def released(work: WorkState, *, crashed: bool) -> dict[str, Any]:
    """The data of `shard.released`, or of another kind's event like it."""
    return {work.kind.noun: work.number, "crashed": crashed}


def finished(work: WorkState, error: Mapping[str, Any] | None, summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """The data of `shard.finished`, or of another kind's event like it."""
    data: dict[str, Any] = {work.kind.noun: work.number, "status": work.status.value}
    if error is not None:
        data["error"] = dict(error)
    if summary is not None:
        data["summary"] = dict(summary)
    return data


def settled(job: JobState, progress: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the entry that ends a job: there is no time left."""
    data = {"status": job.status.value, "progress": {**progress, "eta_seconds": 0.0}}
    return data if job.error is None else {**data, "error": dict(job.error)}
