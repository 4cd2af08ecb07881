"""What webhooks are told of a job: little enough to arrive, and what it takes to ask for the rest."""

from datetime import datetime
from typing import Any

import orjson

from service.lifecycle.states import JobState
from service.records.work import WorkKind

MAX_BODY_BYTES = 20_000  # what Standard Webhooks recommends at most
_LONGEST_MESSAGE = 1_000  # characters of an error; at most 6 bytes each in JSON
_LONGEST_CODE = 100

_PLACES = {WorkKind.LABEL: "jobs", WorkKind.TRAIN: "trainings"}
_LINKED = {WorkKind.LABEL: ("result", "report", "events"), WorkKind.TRAIN: ("adapter", "report", "events")}


def is_told(event_type: str) -> bool:
    """Whether webhooks can be told of an entry of a job's log."""
    return event_type.startswith("job.") and event_type != "job.progress"


def job_message(event_type: str, at: datetime, job: JobState) -> bytes:
    """The body that tells of a job's event: thin, so that the receiver asks for the job as it is by then."""
    here = f"/v1/{_PLACES[job.kind]}/{job.id}"
    data: dict[str, Any] = {"job": job.id, "name": _sayable(job.name), "status": job.status.value}
    if job.error is not None:
        code, message = str(job.error.get("code", "")), str(job.error.get("message", ""))
        data["error"] = {"code": _sayable(code, _LONGEST_CODE), "message": _sayable(message)}
    data["links"] = {"self": here} | {name: f"{here}/{name}" for name in _LINKED[job.kind]}
    return message_body(event_type, at, data)


def message_body(event_type: str, at: datetime, data: dict[str, Any]) -> bytes:
    """The body of a message, as every receiver expects it."""
    return orjson.dumps({"type": event_type, "timestamp": at.isoformat(), "data": data})


def _sayable(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Text that may quote a server: no longer than this, and without halves of characters, which no JSON holds."""
    cut = text if len(text) <= longest else text[:longest] + "..."
    return cut.encode("utf-8", errors="replace").decode()
