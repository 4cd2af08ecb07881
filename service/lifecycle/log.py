"""What the log of a job says, and which errors a job has."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from service.lifecycle.changes import Entry
from service.lifecycle.messages import is_told, job_message
from service.lifecycle.states import JobState, ShardState
from service.records.jobs import JobStatus, NewJob, NewShard, PauseReason, Progress

# Entries that stay as long as the job: the report reads the shards' summaries, and whoever follows the log late
# learns of the job's beginning and end.
LASTING_EVENTS = ("job.created", "shard.finished", "job.succeeded", "job.failed", "job.cancelled")

PAUSED_ON_REQUEST = "paused on request; the job goes on once it is resumed"


def entry(event_type: str, data: Mapping[str, Any], job: JobState, now: datetime) -> Entry:
    """An entry of the log, with the message for webhooks where they are told of it."""
    return Entry(event_type, data, job_message(event_type, now, job) if is_told(event_type) else None)


def created(job: NewJob, shards: Sequence[NewShard], now: datetime) -> Entry:
    """The first entry of a job's log."""
    size = {"rows": sum(shard.rows for shard in shards), "shards": len(shards)}
    return entry("job.created", size, JobState(id=job.id, name=job.config.name, status=JobStatus.QUEUED), now)


def job_error(reason: PauseReason, message: str) -> dict[str, str]:
    """The job's error while it is paused."""
    return {"code": reason.value, "message": message}


def crash_error(shard: int, crashes: int) -> dict[str, str]:
    """The job's error where a shard ended too many workers without progress in between."""
    return {
        "code": "worker_crashed",
        "message": f"shard {shard} was given up after {crashes} workers ended on it without any progress in between",
    }


def paused(reason: PauseReason, message: str, retry_at: datetime | None) -> dict[str, Any]:
    """The data of `job.paused`. `retry_at` is when a worker first tries whether the job can go on."""
    when = None if retry_at is None else retry_at.isoformat()
    return {"status": JobStatus.PAUSED.value, "reason": reason.value, "message": message, "retry_at": when}


def started(shard: ShardState) -> dict[str, Any]:
    """The data of `shard.started`."""
    return {"shard": shard.shard, "epoch": shard.epoch, "worker_id": shard.worker_id, "rows": shard.rows}


def finished(shard: ShardState, error: Mapping[str, Any] | None, summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """The data of `shard.finished`."""
    data: dict[str, Any] = {"shard": shard.shard, "status": shard.status.value}
    if error is not None:
        data["error"] = dict(error)
    if summary is not None:
        data["summary"] = dict(summary)
    return data


def progressed(progress: Progress) -> dict[str, Any]:
    """The data of `job.progress`."""
    return {name: getattr(progress, name) for name in Progress.__slots__}


def settled(job: JobState, progress: Progress) -> dict[str, Any]:
    """The data of the entry that ends a job: there is no time left."""
    data = {"status": job.status.value, "progress": progressed(replace(progress, eta_seconds=0.0))}
    return data if job.error is None else {**data, "error": dict(job.error)}
