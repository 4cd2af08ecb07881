"""The table from errors to HTTP, and the problem documents (RFC 9457)."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from api.schemas import FaultBody, Problem, QuotaBody
from service import errors
from service.access.keys import redacted
from service.jobs.checks.plain_words import sentence

PROBLEM_JSON = "application/problem+json"
_TYPE_PREFIX = "urn:icm:problem:"
_RETRY_SECONDS = 5
_PASSING = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE)  # statuses for which waiting helps
_CHALLENGE = 'Bearer realm="icm"'
_LONGEST_TEXT = 2_000  # characters
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# Looked up along the error's ancestors, so the nearest entry counts.
STATUS_OF: Mapping[type[errors.ServiceError], int] = {
    errors.InvalidInput: 422,
    errors.InvalidConfig: 422,
    errors.InvalidDataset: 422,
    errors.InvalidCursor: 400,
    errors.UnsupportedFormat: 415,
    errors.PayloadTooLarge: 413,
    errors.NotAuthenticated: 401,
    errors.NotPermitted: 403,
    errors.QuotaExceeded: 403,  # waiting does not help
    errors.QuotaExhausted: 429,
    errors.QuotaTooSmall: 413,
    errors.TooManyRequests: 429,
    errors.HostNotAllowed: 421,
    errors.KeyNotFound: 404,
    errors.ProjectNotFound: 404,
    errors.JobNotFound: 404,
    errors.TrainingNotFound: 404,
    errors.WebhookNotFound: 404,
    errors.DeliveryNotFound: 404,
    errors.ModelNotFound: 422,  # the address exists; the configuration names something that does not
    errors.WrongState: 409,
    errors.JobNotFinished: 409,
    errors.TrainingNotFinished: 409,
    errors.JobFinished: 409,
    errors.WebhookDisabled: 409,
    errors.IdempotencyMismatch: 422,
    errors.BackendError: 502,
    errors.BackendUnavailable: 503,
    errors.BackendRefused: 422,
    errors.LabelUnreachable: 422,
    errors.AdapterRefused: 422,
    errors.BackendChanged: 409,
    errors.CheckpointTooNew: 409,
    errors.ConfigUnreadable: 409,
    errors.RequestTooSlow: 408,
    errors.Overloaded: 503,
    errors.SpoolFull: 507,
    errors.ArtifactsUnavailable: 503,
    errors.ArtifactMissing: 404,
    errors.TrainingFailed: 422,
    errors.RewardModelUnusable: 409,
    errors.RewardsUnavailable: 503,
    errors.StorageUnavailable: 503,
    errors.StorageFull: 507,
    errors.LeaseLost: 409,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemKind:
    """Status and name of all problems of a kind."""

    status: int
    slug: str

    @property
    def title(self) -> str:
        """The kind in words."""
        return self.slug.replace("-", " ").capitalize()


def kind_of(error: errors.ServiceError) -> ProblemKind:
    """The status and stable name of an error."""
    known = next((cls for cls in type(error).__mro__ if cls in STATUS_OF), None)
    if known is None:
        return INTERNAL
    return ProblemKind(status=STATUS_OF[known], slug=re.sub(r"(?<!^)(?=[A-Z])", "-", known.__name__).lower())


INTERNAL = ProblemKind(status=500, slug="internal-server-error")
_INVALID_REQUEST = ProblemKind(status=422, slug="invalid-request")


def problem(
    request_id: str,
    kind: ProblemKind,
    detail: str,
    *,
    faults: Sequence[errors.Fault] = (),
    quota: errors.QuotaState | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build a problem document, without any API key of the request."""
    body = Problem(
        type=_TYPE_PREFIX + kind.slug,
        title=kind.title,
        status=kind.status,
        detail=_sayable(detail),
        request_id=request_id,
        errors=[_fault_body(fault) for fault in faults] or None,
        quota=None if quota is None else QuotaBody.model_validate(quota),
    )
    exclude = {name for name in ("errors", "quota") if getattr(body, name) is None}
    text = redacted(body.model_dump_json(exclude=exclude))
    return Response(text, kind.status, dict(headers or {}), PROBLEM_JSON)


def _fault_body(fault: errors.Fault) -> FaultBody:
    field = None if fault.field is None else _sayable(fault.field)
    return FaultBody(line=fault.line, field=field, message=_sayable(fault.message))


def _sayable(text: str) -> str:
    """Shorten a text that may quote the request, and remove halves of characters."""
    cut = text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."
    return cut.encode("utf-8", errors="replace").decode()


def service_problem(request_id: str, error: errors.ServiceError) -> Response:
    """An error of the service as a problem document."""
    kind = kind_of(error)
    faults = error.faults if isinstance(error, errors.InvalidInput) else ()
    if isinstance(error, errors.ModelNotFound):
        faults = (errors.Fault(str(error), field="model"),)
    quota = error.state if isinstance(error, errors.QuotaExceeded) else None
    return problem(request_id, kind, _detail(error), faults=faults, quota=quota, headers=_headers(error, kind))


def _detail(error: errors.ServiceError) -> str:
    """The error's text; addresses and files on our side go to the log alone."""
    if isinstance(error, errors.ArtifactsUnavailable):
        structlog.get_logger("api").warning("the files of trainings cannot be reached", reason=str(error))
        return "the place for the files of trainings cannot be reached; the log has the reason under this request id"
    if not isinstance(error, errors.StorageUnavailable):
        return str(error)
    structlog.get_logger("api").warning("the database cannot do an operation", reason=str(error))
    if isinstance(error, errors.StorageFull):
        return "the disk of the database is full: storing fails at the moment, reading works"
    return "the database does not answer at the moment; the log has the reason under this request id"


def _headers(error: errors.ServiceError, kind: ProblemKind) -> dict[str, str]:
    """Headers that say when to repeat the request, or with which credential (RFC 6750 §3)."""
    match error:
        case errors.NotAuthenticated():
            return {"WWW-Authenticate": _CHALLENGE + (', error="invalid_token"' if error.key_was_sent else "")}
        case errors.NotPermitted():
            return {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{error.scope}"'}
        case errors.BackendUnavailable() | errors.QuotaExhausted() | errors.TooManyRequests():
            return {"Retry-After": str(max(1, math.ceil(error.retry_after_seconds or _RETRY_SECONDS)))}
        case errors.RequestTooSlow():
            return {"Connection": "close"}  # the server reads nothing more (RFC 9110 §15.5.9)
    return {"Retry-After": str(_RETRY_SECONDS)} if kind.status in _PASSING else {}


def install_handlers(app: FastAPI) -> None:
    """Answer every error with a problem document; the middleware catches unforeseen ones."""
    app.exception_handler(errors.ServiceError)(_on_service_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(RequestValidationError)(_on_invalid_request)


async def _on_service_error(request: Request, error: errors.ServiceError) -> Response:
    return service_problem(request.state.request_id, error)


async def _on_http_error(request: Request, error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    kind = ProblemKind(status=error.status_code, slug=re.sub(r"[^a-z]+", "-", phrase.lower()))
    headers, detail = dict(error.headers or {}), error.detail
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            detail = "there is nothing at this address; /docs lists all addresses"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(allowed_methods(request.app, request.scope))
            detail = f"this address does not take {request.method}; it takes {headers['Allow']}"
    return problem(request.state.request_id, kind, detail, headers=headers)


async def _on_invalid_request(request: Request, error: RequestValidationError) -> Response:
    faults = [
        errors.Fault(
            sentence(found["type"], found["msg"], found.get("ctx", {})),
            field=".".join(map(str, found["loc"][1:])) or None,
        )
        for found in error.errors()
    ]
    return problem(request.state.request_id, _INVALID_REQUEST, "the request cannot be used", faults=faults)


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Every method of this path; frameworks list only those of the first matching route.

    `/v1/jobs/estimate` matches `/v1/jobs/{job_id}`, too, but a literal path takes precedence (OpenAPI).
    """
    written_out = app.openapi()["paths"].get(scope["path"])
    if written_out is not None:
        return [method for method in _METHODS if method.lower() in written_out]
    return [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]
