"""Describes the HTTP calls of the trainings API: each function returns a `Call`, which a client sends and reads."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from icm.calls.call import Call, Document, Page, address_of, data_of, document_of, listing, nothing, saved_call
from icm.documents import Training

_TRAININGS = "/v1/trainings"


def create(job_ids: Sequence[str], settings: Mapping[str, Any], *, idempotency_key: str | None) -> Call[Training]:
    """Create a training. The key makes the call repeatable: a second call gets the first training."""
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    body = {"job_ids": list(job_ids), **settings}
    return Call(method="POST", path=_TRAININGS, read=_training, headers=headers, body=body)


def estimate(job_ids: Sequence[str], settings: Mapping[str, Any]) -> Call[Document]:
    """Estimate the cost of a training; the service stores nothing."""
    return Call(
        method="POST", path=f"{_TRAININGS}/estimate", read=document_of, body={"job_ids": list(job_ids), **settings}
    )


def get(training_id: str) -> Call[Training]:
    """Read the present state of a training."""
    return Call(method="GET", path=_path(training_id), read=_training)


def listed(*, status: str | None, page_size: int) -> Call[Page[Training]]:
    """List trainings, newest first."""
    params = {"limit": str(page_size)} | ({} if status is None else {"status": status})
    return listing(_TRAININGS, params, Training.read)


def report(training_id: str) -> Call[Document]:
    """Read the report."""
    return Call(method="GET", path=f"{_path(training_id)}/report", read=document_of)


def report_page(training_id: str, to: Path) -> Call[Path]:
    """Download the report as one HTML page."""
    return saved_call(f"{_path(training_id)}/report", {"format": "html"}, to)


def adapter(training_id: str, to: Path) -> Call[Path]:
    """Download the adapter as a tar archive."""
    return saved_call(f"{_path(training_id)}/adapter", {}, to)


def control(training_id: str, action: str) -> Call[Training]:
    """Pause, resume or cancel a training; a repeated call gets the same answer."""
    return Call(method="POST", path=f"{_path(training_id)}/{action}", read=_training)


def score(training_id: str, texts: Sequence[str], prompts: Sequence[tuple[str, Sequence[str]]]) -> Call[list[Document]]:
    """The rewards of whole texts, then of responses behind their prompts."""
    behind = [{"prompt": prompt, "responses": list(responses)} for prompt, responses in prompts]
    body = {"reward": training_id, "texts": list(texts), "prompts": behind}
    return Call(method="POST", path="/v1/score", read=data_of, body=body)


def delete(training_id: str) -> Call[None]:
    """Delete a training that has ended, with all its files."""
    return Call(method="DELETE", path=_path(training_id), read=nothing)


def _path(training_id: str) -> str:
    return address_of(_TRAININGS, training_id)


def _training(response: httpx.Response) -> Training:
    return Training.read(document_of(response))


def sha256_of(training: Training) -> str | None:
    """The content hash of the training's files; None before it has succeeded."""
    artifact: Document = training.document.get("artifact") or {}
    return artifact.get("sha256")
