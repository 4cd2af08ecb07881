"""What is told by a webhook: little enough to arrive, and what it takes to ask for the rest."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from service.entities import JobStatus
from service.identifiers import JobId
from service.ports.webhooks import TEST_EVENT

MAX_BODY_BYTES = 20_000  # what Standard Webhooks recommends at most
_LONGEST_MESSAGE = 1_000  # characters of an error; at most 6 bytes each in JSON
_LONGEST_CODE = 100

_LINKED = ("result", "report", "events")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What a message tells of a job, as it is within the transaction that changes it."""

    id: JobId
    name: str
    status: JobStatus
    error: dict[str, Any] | None


def is_told(event_type: str) -> bool:
    """Whether an event of a job's log can be told by webhooks."""
    return event_type.startswith("job.") and event_type != "job.progress"


def job_message(event_type: str, at: datetime, job: JobFacts) -> bytes:
    """The body that tells of a job's event: thin, so that the receiver asks for the job as it is by then."""
    here = f"/v1/jobs/{job.id}"
    data: dict[str, Any] = {"job": job.id, "name": _sayable(job.name), "status": job.status.value}
    if job.error is not None:
        code, message = str(job.error.get("code", "")), str(job.error.get("message", ""))
        data["error"] = {"code": _sayable(code, _LONGEST_CODE), "message": _sayable(message)}
    data["links"] = {"self": here} | {name: f"{here}/{name}" for name in _LINKED}
    return _body(event_type, at, data)


def trial_message(at: datetime) -> bytes:
    """The body of a message that only shows that messages arrive."""
    return _body(TEST_EVENT, at, {"message": "This is a test of this webhook; nothing has happened."})


def _body(event_type: str, at: datetime, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": event_type, "timestamp": at.isoformat(), "data": data})


def _sayable(text: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Text that may quote a server: no longer than this, and without halves of characters, which no JSON holds."""
    cut = text if len(text) <= longest else text[:longest] + "..."
    return cut.encode("utf-8", errors="replace").decode()
