"""Routes of trainings: create, estimate, read, list, follow, pause, resume, cancel and remove; report and adapter."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status
from starlette.responses import StreamingResponse

from api.dependencies import (
    Cursor,
    IdempotencyKey,
    Limit,
    TheApplication,
    TheSigner,
    TheStore,
    of_app,
)
from api.edge.bodies import read_json
from api.labelling.event_reads import EventReads
from api.labelling.events import TheEventsRequest
from api.labelling.results import REPORT_ANSWERS, TheReportFormat, report_answer
from api.openapi.documentation import documented, documented_headers, problems
from api.page.render import render_training
from api.schemas import EventPage, Page
from api.training.bodies import ListedTrainingBody, TrainingBody, TrainingEstimateBody, TrainingReportBody
from service.errors import TrainingNotFound
from service.identifiers import JobId, is_training_id
from service.records.jobs import JobStatus
from service.records.trainings import Training
from service.training_process.bases import BasesOnDisk
from service.trainings import control
from service.trainings.create import create_training
from service.trainings.download import find_artifact, tar_stream
from service.trainings.estimate import estimate_training
from service.trainings.request import TrainingRequest, parse_request

router = APIRouter(tags=["trainings"])

_MAX_BYTES = 100_000  # of a request
_POLL_SECONDS = "1"
_TAR = "application/x-tar"
_BODY = documented(TrainingRequest, {"job_ids": ["job_" + "0" * 32], "epochs": 3, "rows": {"min_confidence": 0.9}})
_CREATED = documented_headers(Location="where the training is", Retry_After="seconds after which to look at it")
_CONTROLLED: dict[str, Any] = {  # routes that change a training's status
    "status_code": status.HTTP_202_ACCEPTED,
    "response_model": TrainingBody | ListedTrainingBody,
    "responses": problems(404, 409, 503),
}


async def _training_id(
    training_id: Annotated[str, Path(description="the training's id", examples=["train_" + "0" * 32])],
) -> JobId:
    """Refuse ids in another form than the service's before they reach the database. Raises TrainingNotFound."""
    if not is_training_id(training_id):
        raise TrainingNotFound(f"there is no training {training_id!r}")
    return JobId(training_id)


TheTrainingId = Annotated[JobId, Depends(_training_id)]
_TheEventReads = Annotated[EventReads, Depends(of_app("training_event_reads"))]


@router.post(
    "/v1/trainings",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TrainingBody,
    openapi_extra=_BODY,
    responses={**problems(400, 408, 413, 415, 503), 202: {"headers": _CREATED}},
)
async def create(request: Request, application: TheApplication, store: TheStore, key: IdempotencyKey) -> Response:
    """Train a language model on the rows of finished jobs; a request with a fault stores nothing."""
    wanted = parse_request(await read_json(request, _MAX_BYTES))
    bases = BasesOnDisk(application.settings.training.bases)
    receipt = await create_training(wanted, store, application.artifacts, bases, idempotency_key=key)
    answer = _accepted(receipt.training)
    answer.headers["Location"] = f"/v1/trainings/{receipt.training.id}"
    if receipt.replayed:
        answer.headers["Idempotency-Replayed"] = "true"
    return answer


@router.post("/v1/trainings/estimate", openapi_extra=_BODY, responses=problems(400, 408, 413, 415, 503))
async def estimate(request: Request, application: TheApplication, store: TheStore) -> TrainingEstimateBody:
    """Check jobs as for a training and estimate its cost by earlier trainings; stores nothing."""
    wanted = parse_request(await read_json(request, _MAX_BYTES))
    bases = BasesOnDisk(application.settings.training.bases)
    return TrainingEstimateBody.model_validate(await estimate_training(wanted, store, application.scorers, bases))


@router.get("/v1/trainings", responses=problems(400, 503))
async def get_trainings(
    store: TheStore,
    signer: TheSigner,
    limit: Limit = 20,
    cursor: Cursor = None,
    training_status: Annotated[JobStatus | None, Query(alias="status")] = None,
) -> Page[ListedTrainingBody]:
    """Trainings, newest first."""
    scope = f"trainings {store.caller.project}"
    before = signer.read(scope, cursor)
    found = await control.list_trainings(store, limit=limit, before=before, status=training_status)
    last = found.items[-1] if found.has_more else None
    return Page(
        data=[ListedTrainingBody.of(training) for training in found.items],
        has_more=found.has_more,
        next_cursor=last and signer.sign(scope, (last.created_at.isoformat(), last.id)),
    )


@router.get("/v1/trainings/{training_id}", responses=problems(404, 503))
async def get_training(training_id: TheTrainingId, store: TheStore) -> TrainingBody:
    """A training as it is now."""
    return TrainingBody.model_validate(await control.read_training(store, training_id))


@router.get(
    "/v1/trainings/{training_id}/events",
    response_model=EventPage,
    responses={
        **problems(400, 404, 503),
        200: {"description": "Events behind Last-Event-ID", "content": {"text/event-stream": {}}},
    },
)
async def get_training_events(training_id: TheTrainingId, wanted: TheEventsRequest, reads: _TheEventReads) -> Response:
    """Events as they happen until the training has ended; with `Accept: application/json`, the events so far."""
    return await wanted.answer(training_id, reads)


@router.get(
    "/v1/trainings/{training_id}/report",
    response_model=TrainingReportBody,
    responses={**problems(409), **REPORT_ANSWERS},
)
async def get_training_report(training_id: TheTrainingId, store: TheStore, form: TheReportFormat) -> Response:
    """The report of a training that has succeeded, with its manifest and its lineage."""
    found = await control.read_report(store, training_id)
    return await report_answer(form, TrainingReportBody.model_validate(found), lambda: render_training(found))


@router.get(
    "/v1/trainings/{training_id}/adapter",
    response_class=StreamingResponse,
    responses={**problems(404, 409, 503), 200: {"description": "A tar archive", "content": {_TAR: {}}}},
)
async def get_adapter(training_id: TheTrainingId, application: TheApplication, store: TheStore) -> Response:
    """The adapter or whole model that was trained, as a tar archive of safetensors and JSON."""
    download = await find_artifact(store, application.artifacts, training_id)
    headers = {
        "Content-Disposition": f'attachment; filename="{training_id}.tar"',
        "Content-Length": str(download.bytes),
        "ETag": f'"{download.sha256}"',
    }
    return StreamingResponse(tar_stream(application.artifacts, download), headers=headers, media_type=_TAR)


@router.post("/v1/trainings/{training_id}/pause", **_CONTROLLED)
async def pause_training(training_id: TheTrainingId, store: TheStore) -> Response:
    """Pause a training until a person resumes it; it then continues from its last checkpoint to the same bytes."""
    return _accepted(await control.pause(store, training_id))


@router.post("/v1/trainings/{training_id}/resume", **_CONTROLLED)
async def resume_training(training_id: TheTrainingId, store: TheStore) -> Response:
    """Resume a paused training."""
    return _accepted(await control.resume(store, training_id))


@router.post("/v1/trainings/{training_id}/cancel", **_CONTROLLED)
async def cancel_training(training_id: TheTrainingId, store: TheStore) -> Response:
    """Cancel a training; the service keeps none of its files."""
    return _accepted(await control.cancel(store, training_id))


@router.delete("/v1/trainings/{training_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 409, 503))
async def delete_training(training_id: TheTrainingId, application: TheApplication, store: TheStore) -> None:
    """Remove a training that has ended, with all its files; frees its Idempotency-Key."""
    await control.remove(store, application.artifacts, training_id)


def _accepted(training: Training) -> Response:
    form = TrainingBody.model_validate if training.unreadable is None else ListedTrainingBody.of
    body = form(training).model_dump_json()
    return Response(body, status.HTTP_202_ACCEPTED, {"Retry-After": _POLL_SECONDS}, "application/json")
