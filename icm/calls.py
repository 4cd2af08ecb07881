"""Each call of the HTTP interface as a value: the request and the reader of its answer. This module does no I/O."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from icm.data.uploads import Upload
from icm.documents import Job

T = TypeVar("T")

Document = dict[str, Any]

_PATIENCE_SECONDS = 30.0  # for one read of a job


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request and the reader of its successful answer."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None  # JSON
    upload: Upload | None = None
    timeout_seconds: float | None = None  # for connecting and for each read, if it is less than the client's
    save_to: Path | None = None  # file for the body of a successful answer
    repeatable: bool = True  # repeating it has no further effect

    @contextmanager
    def arguments(self) -> Iterator[Document]:
        """Yield httpx's arguments beside method and path, with the upload opened for one attempt."""
        arguments: Document = {"params": dict(self.params), "headers": dict(self.headers)}
        if self.timeout_seconds is not None:
            arguments["timeout"] = min(self.timeout_seconds, _PATIENCE_SECONDS)
        if self.body is not None:
            arguments["json"] = dict(self.body)
        if self.upload is None:
            yield arguments
            return
        with self.upload.opened() as file:
            arguments["data"] = {"config": json.dumps(self.config, ensure_ascii=False)}
            arguments["files"] = {"dataset": (self.upload.name, file, self.upload.content_type)}
            yield arguments


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list, and the call that gets the next part."""

    items: list[T]
    following: "Call[Page[T]] | None"


def create_job(upload: Upload, config: Mapping[str, Any], *, idempotency_key: str | None) -> Call[Job]:
    """Create a job. The key makes the call repeatable: the service answers a second call with the first job."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return Call(method="POST", path="/v1/jobs", read=_job, headers=headers, config=config, upload=upload)


def estimate(upload: Upload, config: Mapping[str, Any]) -> Call[Document]:
    """Estimate the cost of a job; the service stores nothing."""
    return Call(method="POST", path="/v1/jobs/estimate", read=document_of, config=config, upload=upload)


def job(job_id: str) -> Call[Job]:
    """Read the present state of a job."""
    return Call(method="GET", path=job_path(job_id), read=_job)


def jobs(*, status: str | None, page_size: int) -> Call[Page[Job]]:
    """List jobs, newest first."""
    params = {"limit": str(page_size)} | ({} if status is None else {"status": status})
    return listing("/v1/jobs", params, Job.read)


def labels(job_id: str, *, order: str, page_size: int) -> Call[Page[Document]]:
    """List the present label states."""
    return listing(f"{job_path(job_id)}/labels", {"order": order, "limit": str(page_size)}, dict)


def report(job_id: str) -> Call[Document]:
    """Read the report."""
    return Call(method="GET", path=f"{job_path(job_id)}/report", read=document_of)


def report_page(job_id: str, to: Path) -> Call[Path]:
    """Download the report as one HTML page."""
    return _saved(f"{job_path(job_id)}/report", {"format": "html"}, to)


def pause(job_id: str) -> Call[Job]:
    """Pause a job; a repeated call gets the same answer."""
    return Call(method="POST", path=f"{job_path(job_id)}/pause", read=_job)


def resume(job_id: str) -> Call[Job]:
    """Resume a job; a repeated call gets the same answer."""
    return Call(method="POST", path=f"{job_path(job_id)}/resume", read=_job)


def cancel(job_id: str) -> Call[Job]:
    """Cancel a job; a repeated call gets the same answer."""
    return Call(method="POST", path=f"{job_path(job_id)}/cancel", read=_job)


def delete(job_id: str) -> Call[None]:
    """Delete a finished job."""
    return Call(method="DELETE", path=job_path(job_id), read=nothing)


def models() -> Call[list[Document]]:
    """List the scoring backends, the default first."""
    return Call(method="GET", path="/v1/models", read=data_of)


def result(job_id: str, to: Path, *, result_format: str, **flags: bool) -> Call[Path]:
    """Download the labelled data set; each true flag becomes a parameter of the request."""
    params = {"format": result_format} | {name: "true" for name, given in flags.items() if given}
    return _saved(f"{job_path(job_id)}/result", params, to)


def job_path(job_id: str) -> str:
    """The job's address."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _saved(path: str, params: Mapping[str, str], to: Path) -> Call[Path]:
    """A call that saves its answer; `icm.data.files.saved` makes the file appear once it is complete."""
    return Call(method="GET", path=path, read=lambda _: to, params=params, save_to=to)


def listing(path: str, params: Mapping[str, str], read: Callable[[Document], T]) -> Call[Page[T]]:
    """A list, page by page."""
    return Call(method="GET", path=path, params=params, read=partial(_page, path, params, read))


def _page(path: str, params: Mapping[str, str], read: Callable[[Document], T], response: httpx.Response) -> Page[T]:
    document = document_of(response)
    cursor = document.get("next_cursor")
    following = None if cursor is None else listing(path, {**params, "cursor": cursor}, read)
    return Page(items=[read(item) for item in document["data"]], following=following)


def document_of(response: httpx.Response) -> Document:
    """The answer as it is."""
    document: Document = response.json()
    return document


def data_of(response: httpx.Response) -> list[Document]:
    """The items of a list without pages."""
    data: list[Document] = document_of(response)["data"]
    return data


def _job(response: httpx.Response) -> Job:
    return Job.read(document_of(response))


def nothing(_response: httpx.Response) -> None:
    """There is nothing to read."""
    return
