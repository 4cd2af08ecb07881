"""The rules of a job's life and of its records, without any storage: Postgres and its in-memory twin obey them.

Locks, wherever there are any, are taken shard first, then job. Whoever holds a job never
waits for a shard.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from service.entities import JobStatus, LabelState, LabelStatus, PauseReason, Progress, ShardStatus
from service.errors import InvalidCursor, JobFinished
from service.identifiers import JobId, Row

SUMMED = ("labeled", "iterations", "accepted", "inconsistencies", "prompts", "tokens_sent", "tokens_computed")

OPEN_JOB = tuple(status for status in JobStatus if not status.is_final)
OPEN_SHARD = (ShardStatus.BLOCKED, ShardStatus.QUEUED, ShardStatus.RUNNING)
WAITING_SHARD = (ShardStatus.BLOCKED, ShardStatus.QUEUED)

# How long nobody else tries whether a paused job can go on, while one worker does.
TRIAL_SECONDS = 60.0

# Labels come long before the search is content with them, so a shard under way never counts as done.
MOST_OF_A_SHARD = 0.9

# Events of a job that ended long ago that stay as long as the job: the report reads the shards' summaries, and
# whoever follows the log late learns of its beginning and its end.
LASTING_EVENTS = ("job.created", "shard.finished", "job.succeeded", "job.failed", "job.cancelled")

# What a job says while a person has paused it.
PAUSED_ON_REQUEST = "paused on request; the job goes on once it is resumed"


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """How many shards of a job wait, run and have succeeded."""

    waiting: int
    running: int
    succeeded: int
    total: int


def settled_status(status: JobStatus, *, stopping: bool, failed: bool, shards: ShardCounts) -> JobStatus:
    """The job's status after one of its shards ended or was given back; a final status stays.

    A paused job, whoever paused it, ends like a running one: by the shards that were under way, or by a cancellation.
    `stopping` says that the job was asked to stop, `failed` that a shard has failed for good.
    """
    if status.is_final:
        return status
    if failed:
        return JobStatus.FAILED
    if stopping:
        return JobStatus.CANCELLED if shards.waiting + shards.running == 0 else status
    return JobStatus.SUCCEEDED if shards.succeeded == shards.total else status


def refuse_ended(job_id: JobId, status: JobStatus, *, cancel_requested: bool) -> None:
    """Keep a job that has ended, or is about to, from being paused or resumed. Raises JobFinished."""
    if status.is_final:
        raise JobFinished(f"job {job_id} has already ended: {status}")
    if cancel_requested:
        raise JobFinished(f"job {job_id} is being cancelled")


def job_error(reason: PauseReason, message: str) -> dict[str, str]:
    """The job's error while it is paused."""
    return {"code": reason.value, "message": message}


def paused_event(reason: PauseReason, message: str, retry_at: datetime | None) -> dict[str, Any]:
    """The data of a `job.paused` event.

    `retry_at` is when it is first looked whether the job can go on; None where only a person lets it.
    """
    when = None if retry_at is None else retry_at.isoformat()
    return {"status": JobStatus.PAUSED.value, "reason": reason.value, "message": message, "retry_at": when}


def resumed_status(*, has_begun: bool) -> JobStatus:
    """The status of a job whose pause is over."""
    return JobStatus.RUNNING if has_begun else JobStatus.QUEUED


def resumed_event(status: JobStatus, paused_seconds: float) -> dict[str, Any]:
    """The data of a `job.resumed` event."""
    return {"status": status.value, "paused_seconds": paused_seconds}


def poisoned(shard: int, crashes: int) -> dict[str, str]:
    """The job's error where a shard ended too many workers without progress in between."""
    return {
        "code": "worker_crashed",
        "message": f"shard {shard} was given up after {crashes} workers ended on it without any progress in between",
    }


def rows_done(status: ShardStatus, rows: int, labeled: int) -> float:
    """How many of a shard's rows count as done when the time left is estimated."""
    return float(rows) if status is ShardStatus.SUCCEEDED else min(float(labeled), MOST_OF_A_SHARD * rows)


def eta_seconds(status: JobStatus, elapsed_seconds: float | None, done: float, rows: int) -> float | None:
    """Seconds left at the pace so far; None while there is nothing to go by, 0 after the end."""
    if status.is_final:
        return 0.0
    if status is not JobStatus.RUNNING or elapsed_seconds is None or done <= 0:
        return None
    return elapsed_seconds * (rows - done) / done


def progress_event(progress: Progress) -> dict[str, Any]:
    """The data of a `job.progress` event."""
    return {name: getattr(progress, name) for name in Progress.__slots__}


def job_event(status: JobStatus, error: Mapping[str, Any] | None, progress: Progress) -> dict[str, Any]:
    """The data of the event that ends a job."""
    data = {"status": status.value, "progress": progress_event(progress)}
    return data if error is None else {**data, "error": dict(error)}


def shard_event(
    shard: int, status: ShardStatus, error: Mapping[str, Any] | None, summary: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The data of a `shard.finished` event."""
    data: dict[str, Any] = {"shard": shard, "status": status.value}
    if error is not None:
        data["error"] = dict(error)
    if summary is not None:
        data["summary"] = dict(summary)
    return data


def parsed_time(text: str) -> datetime:
    """A point of time out of a cursor. Raises InvalidCursor."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidCursor(f"{text!r} is not a time") from error
    if moment.tzinfo is None:
        raise InvalidCursor(f"{text!r} has no time zone")
    return moment


def gold_text(value: bytes) -> str | None:
    """A gold value as text: a string as it is, JSON true as "True", null as no gold at all."""
    parsed = orjson.loads(value)
    if parsed is None or isinstance(parsed, str):
        return parsed
    return str(parsed) if isinstance(parsed, bool) else value.decode()


def unlabeled(position: Row) -> LabelState:
    """The state of a row no worker has come to."""
    return LabelState(position=position, label=None, confidence=None, margin=None, status=LabelStatus.UNLABELED)
