"""Describes the HTTP calls of the jobs API, and the call that lists scoring backends."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from icm.calls.call import Call, Document, Page, address_of, data_of, document_of, listing, nothing, saved_call
from icm.data.uploads import Upload
from icm.documents import Job


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
    return saved_call(f"{job_path(job_id)}/report", {"format": "html"}, to)


def control(job_id: str, action: str) -> Call[Job]:
    """Pause, resume or cancel a job; a repeated call gets the same answer."""
    return Call(method="POST", path=f"{job_path(job_id)}/{action}", read=_job)


def delete(job_id: str) -> Call[None]:
    """Delete a finished job."""
    return Call(method="DELETE", path=job_path(job_id), read=nothing)


def models() -> Call[list[Document]]:
    """List the scoring backends, the default first."""
    return Call(method="GET", path="/v1/models", read=data_of)


def result(job_id: str, to: Path, *, result_format: str, **flags: bool) -> Call[Path]:
    """Download the labelled data set; each true flag becomes a parameter of the request."""
    params = {"format": result_format} | {name: "true" for name, given in flags.items() if given}
    return saved_call(f"{job_path(job_id)}/result", params, to)


def job_path(job_id: str) -> str:
    """The job's address."""
    return address_of("/v1/jobs", job_id)


def _job(response: httpx.Response) -> Job:
    return Job.read(document_of(response))
