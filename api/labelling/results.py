"""Routes of a job's results: label states, the labelled data set, the report."""

import hashlib
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel
from starlette.responses import HTMLResponse, StreamingResponse

from api.dependencies import Cursor, Limit, TheDownloadStore, TheJobId, TheSigner, TheStore
from api.labelling.jobs import not_modified
from api.openapi.documentation import problems
from api.page.render import content_security_policy, render_report
from api.schemas import JobBody, LabelBody, Page, ReportBody
from service.errors import Fault, InvalidInput
from service.jobs.export.results import Result, find_result, note_download, stream_result
from service.jobs.listing import list_labels
from service.jobs.reporting.report import report
from service.records.jobs import Job
from service.result_formats import ResultFormat, in_words

router = APIRouter(tags=["results"])

_MEDIA_TYPES = [form.media_type for form in ResultFormat]
_FOR_SPREADSHEETS = f"is for format={in_words(form for form in ResultFormat if form.for_spreadsheets)} only"
_LONGEST_STEM = 120  # characters; file systems take 255 bytes, and a character may have four
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|COM\d|LPT\d)\s*(\.|$)", re.IGNORECASE)
_FORMULA_SAFE = (
    "for CSV in a spreadsheet: quote every cell, and put an apostrophe before text that begins with = + - @, a tab or "
    "a line break, which a spreadsheet would run as a formula; this changes such text"
)
_RAW_PROBABILITY = (
    "add the last column icm_raw_probability: the probability of icm_label over the label set by the language "
    "model's answers, pooled over all prompts for the row, before calibration; null if unknown"
)


class ReportFormat(StrEnum):
    """The formats of a report."""

    JSON = "json"
    HTML = "html"


class Order(StrEnum):
    """The order of label states."""

    POSITION = "position"
    CONFIDENCE = "confidence"  # the least confident first


@router.get("/v1/jobs/{job_id}/labels", responses=problems(400, 404, 503))
async def get_labels(
    job_id: TheJobId,
    store: TheStore,
    signer: TheSigner,
    *,
    limit: Limit = 100,
    cursor: Cursor = None,
    order: Order = Order.POSITION,
) -> Page[LabelBody]:
    """List the present label states."""
    scope = f"labels {job_id} {order}"
    after = signer.read(scope, cursor)
    by_confidence = order is Order.CONFIDENCE
    job, found = await list_labels(store, job_id, limit=limit, after=after, by_confidence=by_confidence)
    last = found.items[-1][1] if found.has_more else None
    return Page(
        data=[LabelBody.of(row_id, state, job.config.task.labels) for row_id, state in found.items],
        has_more=found.has_more,
        next_cursor=last and signer.sign(scope, (last.confidence or 0.0, last.position)),
    )


@router.get(
    "/v1/jobs/{job_id}/result",
    response_class=StreamingResponse,
    responses={
        **problems(404, 409, 503),
        200: {"description": "The labelled data set", "content": {kind: {} for kind in _MEDIA_TYPES}},
        304: {"description": "The result still has the ETag of the request"},
    },
)
async def get_result(
    request: Request,
    job_id: TheJobId,
    store: TheStore,
    download_store: TheDownloadStore,
    form: Annotated[ResultFormat, Query(alias="format")] = ResultFormat.JSONL,
    *,
    partial: Annotated[bool, Query(description="accept a failed or cancelled job with its labels so far")] = False,
    formula_safe: Annotated[bool, Query(description=_FORMULA_SAFE)] = False,
    raw_probability: Annotated[bool, Query(description=_RAW_PROBABILITY)] = False,
) -> Response:
    """Download your columns in their order, then icm_label, icm_confidence, icm_margin and icm_status."""
    result = await find_result(store, job_id, partial=partial, raw_probability=raw_probability)
    if formula_safe and not form.for_spreadsheets:
        raise InvalidInput("the result cannot have this form", [Fault(_FOR_SPREADSHEETS, field="formula_safe")])
    headers = {"Content-Disposition": content_disposition(f"{_stem(result.job)}.{form}")}
    if result.is_complete:
        options = {"formula_safe": formula_safe, "raw_probability": raw_probability}
        headers["ETag"] = _etag(result, " ".join([form, *(name for name, given in options.items() if given)]))
        unchanged = not_modified(request, headers["ETag"])
        if unchanged is not None:
            return unchanged
    await note_download(store, result)
    parts = stream_result(download_store, result, form, formula_safe=formula_safe)
    return StreamingResponse(parts, headers=headers, media_type=form.media_type)


REPORT_ANSWERS: dict[int | str, dict[str, Any]] = {
    **problems(404, 503),
    200: {"description": "The report, as JSON or as one self-contained page", "content": {"text/html": {}}},
}


async def _report_format(
    request: Request,
    form: Annotated[
        ReportFormat | None, Query(alias="format", description="default: the format that Accept names")
    ] = None,
) -> ReportFormat:
    """The format of the query; without one JSON, unless the request accepts only HTML of the two, as browsers do."""
    accepted = request.headers.get("accept", "")
    wants_html = "text/html" in accepted and "application/json" not in accepted
    return form or (ReportFormat.HTML if wants_html else ReportFormat.JSON)


TheReportFormat = Annotated[ReportFormat, Depends(_report_format)]


@router.get("/v1/jobs/{job_id}/report", response_model=ReportBody, responses=REPORT_ANSWERS)
async def get_report(job_id: TheJobId, store: TheStore, form: TheReportFormat) -> Response:
    """Read how far you can trust the labels, and why."""
    found = await report(store, job_id)
    body = ReportBody.model_validate(found)
    return await report_answer(form, body, lambda: render_report(JobBody.model_validate(found.job), body))


async def report_answer(form: ReportFormat, body: BaseModel, rendered: Callable[[], str]) -> Response:
    """A report as JSON, or as the page that `rendered` builds in a thread."""
    headers = {"Vary": "Accept"}
    if form is ReportFormat.JSON:
        return Response(body.model_dump_json(), headers=headers, media_type="application/json")
    headers["Content-Security-Policy"] = content_security_policy()
    return HTMLResponse(await to_thread.run_sync(rendered), headers=headers)


def _etag(result: Result, form: str) -> str:
    """The ETag of a finished job's result, whose bytes never change."""
    named = f"{result.job.id} {result.job.finished_at} {form}"
    return f'"{hashlib.sha256(named.encode()).hexdigest()[:32]}"'


def _stem(job: Job) -> str:
    return job.config.name.strip() or job.id


def content_disposition(filename: str) -> str:
    """The name of a download by RFC 6266: in ASCII for old readers, in full for the others.

    Replaces characters that systems read as a path, a device or an invisible change of writing direction.
    """
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in filename)
    stem, dot, ending = name.rpartition(".")
    stem = re.sub(r"^\.+", "_", stem[:_LONGEST_STEM])
    name = ("_" if _DEVICE.match(stem) else "") + (stem + dot + ending)
    plain = re.sub(r"[^ !#$&+\-.0-9A-Z^_`a-z|~()]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
