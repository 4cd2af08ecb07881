"""The service's documents about jobs and trainings. Unknown statuses and fields do no harm."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

FINAL_STATUSES = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress and cost of a job; `utility` is a mean over rows, in nats times alpha."""

    rows: int = 0
    labeled: int = 0
    iterations: int = 0
    accepted: int = 0
    utility: float | None = None
    inconsistencies: int = 0
    prompts: int = 0
    tokens_sent: int = 0
    tokens_computed: int = 0
    eta_seconds: float | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read the fields of this class."""
        return cls(**{field.name: document[field.name] for field in fields(cls) if field.name in document})


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job; `document` is the service's whole document."""

    id: str
    name: str
    status: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress
    error: Mapping[str, Any] | None
    warnings: tuple[str, ...] = ()
    document: Mapping[str, Any]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read the service's JSON."""
        return cls(
            id=document["id"],
            name=document.get("name") or "",
            status=document["status"],
            created_at=datetime.fromisoformat(document["created_at"]),
            started_at=_time(document.get("started_at")),
            finished_at=_time(document.get("finished_at")),
            progress=Progress.read(document.get("progress") or {}),
            error=document.get("error"),
            warnings=tuple(document.get("warnings") or ()),
            document=document,
        )

    @property
    def is_final(self) -> bool:
        """Whether the job has ended, even in a status that this client does not know."""
        return self.finished_at is not None or self.status in FINAL_STATUSES

    @property
    def seconds(self) -> float | None:
        """The duration of an ended job."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training; `document` is the service's whole document."""

    id: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    rows: int
    progress: Mapping[str, Any]  # of the stage under way: stage, step, steps, loss, tokens_per_second, seconds_left
    error: Mapping[str, Any] | None
    warnings: tuple[str, ...] = ()
    document: Mapping[str, Any]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read the service's JSON."""
        return cls(
            id=document["id"],
            status=document["status"],
            created_at=datetime.fromisoformat(document["created_at"]),
            finished_at=_time(document.get("finished_at")),
            rows=document.get("rows") or 0,
            progress=document.get("progress") or {},
            error=document.get("error"),
            warnings=tuple(document.get("warnings") or ()),
            document=document,
        )

    @property
    def is_final(self) -> bool:
        """Whether the training has ended, even in a status that this client does not know."""
        return self.finished_at is not None or self.status in FINAL_STATUSES


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of a job; `id` counts from 1 within the job."""

    id: int
    type: str
    data: Mapping[str, Any]


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
