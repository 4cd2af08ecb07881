"""Jobs and work items in every state, for tests of the lifecycle."""

from datetime import UTC, datetime, timedelta
from typing import Any

from service.identifiers import JobId, WorkerId
from service.lifecycle import Changes, JobState, WorkState
from service.lifecycle import events as e
from service.lifecycle.states import Standing
from service.records.jobs import Backoff, JobStatus, PauseReason
from service.records.work import WorkStatus

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
MAX_CRASHES = 3
ALICE = WorkerId("alice")
JOB = JobId("job_0")
NO = {"code": "BackendRefused", "message": "no"}
AWAY: dict[str, Any] = {"reason": PauseReason.BACKEND_UNAVAILABLE, "message": "away", "backoff": Backoff()}
_PAUSED: dict[str, Any] = {"status": JobStatus.PAUSED, "paused_at": NOW - HOUR}
_LACKS = {**_PAUSED, "pause_reason": PauseReason.BACKEND_UNAVAILABLE, "error": {"code": "backend_unavailable"}}
_HELD = {**_PAUSED, "pause_reason": PauseReason.REQUESTED, "error": {"code": "requested"}}

JOBS: dict[Standing, dict[str, Any]] = {
    Standing.OPEN: {"status": JobStatus.RUNNING},
    Standing.SUSPENDED: {**_LACKS, "retry_at": NOW - HOUR},
    Standing.ON_HOLD: _HELD,
    Standing.STOPPING: {"status": JobStatus.RUNNING, "cancel_requested": True},
    Standing.CANCELLED: {"status": JobStatus.CANCELLED, "cancel_requested": True, "finished_at": NOW},
    Standing.ENDED: {"status": JobStatus.FAILED, "error": NO, "finished_at": NOW},
}

WORK_EVENTS: dict[str, e.WorkEvent] = {
    "Claimed": e.Claimed(worker_id=ALICE, lease_seconds=60.0),
    "Renewed": e.Renewed(lease_seconds=60.0),
    "Saved": e.Saved(advanced=True, progress={}),
    "Released": e.Released(),
    "Crashed": e.Crashed(),
    "ResourceMissing": e.ResourceMissing(**AWAY),
    "RetryFailed": e.RetryFailed(**AWAY),
    "RetrySucceeded": e.RetrySucceeded(),
    "Succeeded": e.Succeeded(),
    "Failed": e.Failed(error=NO),
    "Stopped": e.Stopped(),
}
JOB_EVENTS: dict[str, e.JobEvent] = {
    "PauseRequested": e.PauseRequested(),
    "ResumeRequested": e.ResumeRequested(),
    "CancelRequested": e.CancelRequested(),
    "DeleteRequested": e.DeleteRequested(),
}


def job(standing: Standing = Standing.OPEN, **changes: Any) -> JobState:
    """A job that started an hour ago."""
    return JobState(**{"id": JOB, "name": "birds", "started_at": NOW - HOUR, "tries": 1, **JOBS[standing], **changes})


def shard(status: WorkStatus = WorkStatus.RUNNING, **changes: Any) -> WorkState:
    """The anchor; if running, it has a lease of an hour."""
    leased = {"worker_id": ALICE, "lease_until": NOW + HOUR} if status is WorkStatus.RUNNING else {}
    usual = {"job_id": JOB, "number": 0, "payload": {"rows": 4}, "status": status, "epoch": 1, "crashes": 1}
    return WorkState(**{**usual, **leased, **changes})


def summary(changes: Changes) -> str:
    """The statuses, the change of other shards, and the entries of the log, in one line."""
    found = [] if changes.work is None else [changes.work.status.value]
    found.append(changes.job.status.value)
    found += ["stopping"] if changes.job.cancel_requested else []
    found += [] if changes.siblings is None else [changes.siblings.value]
    found += ["count"] if changes.settling is not None else []
    found += ["interrupt"] if changes.interrupts else []
    found += ["wake"] if changes.wakes_workers else []
    found += ["reset crashes"] if changes.work_fields.get("crashes") == 0 else []
    found += ["reset tries"] if changes.job_fields.get("tries") == 0 else []
    if (retry_at := changes.job_fields.get("retry_at")) is not None:
        found.append(f"retry in {(retry_at - NOW).total_seconds():.0f} s")
    return " ".join([*found, *(f"+{entry.type}" for entry in changes.entries)])
