"""Composes webhook messages about a job: its status, its error and links to everything else."""

from datetime import datetime
from typing import Any

import orjson

from service.lifecycle.states import JobState
from service.records.work import WorkKind

MAX_BODY_BYTES = 20_000  # the most that Standard Webhooks recommends
_LONGEST_MESSAGE = 1_000  # characters of an error; at most 6 bytes each in JSON
_LONGEST_CODE = 100

_COLLECTIONS = {WorkKind.LABEL: "jobs", WorkKind.TRAIN: "trainings"}
_LINKED = {WorkKind.LABEL: ("result", "report", "events"), WorkKind.TRAIN: ("adapter", "report", "events")}


def is_reported(event_type: str) -> bool:
    """True of the entries of a job's log that webhooks report."""
    return event_type.startswith("job.") and event_type != "job.progress"


def job_message(event_type: str, at: datetime, job: JobState) -> bytes:
    """The message body for a job's event. It is short, since the receiver should fetch the current job by its link."""
    here = f"/v1/{_COLLECTIONS[job.kind]}/{job.id}"
    data: dict[str, Any] = {"job": job.id, "name": _clipped(job.name), "status": job.status.value}
    if job.error is not None:
        code, message = str(job.error.get("code", "")), str(job.error.get("message", ""))
        data["error"] = {"code": _clipped(code, _LONGEST_CODE), "message": _clipped(message)}
    data["links"] = {"self": here} | {name: f"{here}/{name}" for name in _LINKED[job.kind]}
    return message_body(event_type, at, data)


def message_body(event_type: str, at: datetime, data: dict[str, Any]) -> bytes:
    """A message body in the form of Standard Webhooks."""
    return orjson.dumps({"type": event_type, "timestamp": at.isoformat(), "data": data})


def _clipped(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """The text without more than `longest` characters and without lone surrogates, which JSON cannot encode.

    It may quote a server, so it can contain anything.
    """
    cut = text if len(text) <= longest else text[:longest] + "..."
    return cut.encode("utf-8", errors="replace").decode()
