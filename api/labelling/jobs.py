"""Routes of jobs: create, read, list, pause, resume, cancel, delete, estimate."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, status

from api.dependencies import (
    Cursor,
    IdempotencyKey,
    Limit,
    TheApplication,
    TheJobId,
    TheMetrics,
    TheSigner,
    TheStore,
)
from api.labelling.submissions import TheSubmission
from api.openapi.documentation import SUBMISSION_BODY, documented_headers, problems
from api.schemas import EstimateBody, JobBody, ListedJobBody, Page
from service.jobs import control
from service.jobs.checks.reward_models import chosen_reward_model
from service.jobs.listing import list_jobs, read_job
from service.jobs.models import models_of
from service.jobs.submission.estimate import estimate
from service.jobs.submission.submit import submit
from service.records.jobs import Job, JobStatus, ListedJob

router = APIRouter(tags=["jobs"])

_POLL_SECONDS = "1"
_CREATED = documented_headers(
    Location="address of the job",
    Retry_After="seconds until you should read it",
    ETag="identifies this state of the job",
)
_CONTROLLED: dict[str, Any] = {  # routes that change a job's status
    "status_code": status.HTTP_202_ACCEPTED,
    "response_model": JobBody | ListedJobBody,
    "responses": problems(404, 409, 503),
}


@router.post(
    "/v1/jobs",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=JobBody,
    openapi_extra=SUBMISSION_BODY,
    responses={**problems(400, 408, 413, 415, 503, 507), 202: {"headers": _CREATED}},
)
async def create_job(
    submission: TheSubmission,
    application: TheApplication,
    store: TheStore,
    key: IdempotencyKey,
    metrics: TheMetrics,
) -> Response:
    """Check a data set, store it and queue its labelling. The service stores nothing if any row is bad."""
    receipt = await submit(submission.config, submission.source, store, application.scorers, idempotency_key=key)
    answer = _accepted(receipt.job)
    answer.headers["Location"] = f"/v1/jobs/{receipt.job.id}"
    if receipt.replayed:
        answer.headers["Idempotency-Replayed"] = "true"
    else:
        metrics.jobs.inc()
        metrics.rows.inc(receipt.job.progress.rows)
    return answer


@router.post("/v1/jobs/estimate", openapi_extra=SUBMISSION_BODY, responses=problems(400, 408, 413, 415, 503, 507))
async def estimate_job(submission: TheSubmission, application: TheApplication, store: TheStore) -> EstimateBody:
    """Check a data set as for a job and estimate its cost. The service stores nothing."""
    work = estimate(
        submission.config,
        submission.source,
        await models_of(submission.config.model, store, application.scorers),
        reward=await chosen_reward_model(submission.config, store, application.scorers),
        check_wanted=submission.check_wanted,
    )
    found = await submission.while_wanted(work)
    return EstimateBody.model_validate(found)


@router.get("/v1/jobs", responses=problems(400, 503))
async def get_jobs(
    store: TheStore,
    signer: TheSigner,
    limit: Limit = 20,
    cursor: Cursor = None,
    job_status: Annotated[JobStatus | None, Query(alias="status")] = None,
) -> Page[ListedJobBody]:
    """List jobs, newest first."""
    scope = f"jobs {store.caller.project}"
    found = await list_jobs(store, limit=limit, before=signer.read(scope, cursor), status=job_status)
    last = found.items[-1] if found.has_more else None
    return Page(
        data=[ListedJobBody.model_validate(job) for job in found.items],
        has_more=found.has_more,
        next_cursor=last and signer.sign(scope, (last.created_at.isoformat(), last.id)),
    )


@router.get(
    "/v1/jobs/{job_id}",
    response_model=JobBody,
    responses={**problems(404, 503), 304: {"description": "The job still has the ETag of the request"}},
)
async def get_job(request: Request, job_id: TheJobId, store: TheStore) -> Response:
    """Read a job; with `If-None-Match` only if it has changed."""
    answer = _answer(await read_job(store, job_id))
    return not_modified(request, answer.headers["ETag"]) or answer


@router.post("/v1/jobs/{job_id}/pause", **_CONTROLLED)
async def pause_job(job_id: TheJobId, store: TheStore) -> Response:
    """Pause a job at once, until somebody resumes it; workers save their current steps."""
    return _accepted(await control.pause(store, job_id))


@router.post("/v1/jobs/{job_id}/resume", **_CONTROLLED)
async def resume_job(job_id: TheJobId, store: TheStore) -> Response:
    """Resume a paused job; workers retry a job that waits for its backend or for tokens at once."""
    return _accepted(await control.resume(store, job_id))


@router.post("/v1/jobs/{job_id}/cancel", **_CONTROLLED)
async def cancel_job(job_id: TheJobId, store: TheStore) -> Response:
    """Cancel a job; it keeps its labels so far."""
    return _accepted(await control.cancel(store, job_id))


@router.delete("/v1/jobs/{job_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409, 503))
async def delete_job(job_id: TheJobId, store: TheStore) -> None:
    """Delete a finished job with its rows, labels and events; its Idempotency-Key is free again."""
    await control.remove(store, job_id)


def _accepted(job: ListedJob) -> Response:
    """The job after a change that workers still have to carry out."""
    answer = _answer(job)
    answer.status_code = status.HTTP_202_ACCEPTED
    answer.headers["Retry-After"] = _POLL_SECONDS
    return answer


def _answer(job: ListedJob) -> Response:
    form = JobBody if isinstance(job, Job) else ListedJobBody  # without a configuration, and with the reason
    body = form.model_validate(job).model_dump_json().encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Response(body, headers={"ETag": etag, "Cache-Control": "no-cache"}, media_type="application/json")


def not_modified(request: Request, etag: str) -> Response | None:
    """Return 304 if the reader's copy is still valid (RFC 9110 §13.1.2: weak comparison), else None."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or known == ["*"]:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers={"ETag": etag, "Cache-Control": "no-cache"})
    return None
