"""Dependencies of endpoints, as annotated aliases."""

import asyncio
import re
from typing import Annotated, Protocol

from fastapi import Depends, Header, Path, Query, Request

from api.cursors import CursorSigner
from api.metrics import ApiMetrics
from api.readiness import FirstAnswer
from service.access.caller_store import CallerStore
from service.access.streams import StreamCounter
from service.errors import Fault, InvalidInput, JobNotFound
from service.identifiers import JobId
from service.jobs.backends import ModelDirectory
from service.observability.metrics import ServiceMetrics
from service.ports.artifacts import Artifacts
from service.ports.scoring import Scorers
from service.ports.store import ProjectStore, Store
from service.records.access import Quotas
from service.settings import Settings

JOB_ID = re.compile(r"job_[0-9a-f]{32}")
_IDEMPOTENCY_KEY = r"^[!-~]([ -~]{0,253}[!-~])?$"


class Application(Protocol):
    """The wired service as the API needs it."""

    @property
    def settings(self) -> Settings:
        """The operator's settings."""

    @property
    def store(self) -> Store:
        """The database."""

    @property
    def scorers(self) -> Scorers:
        """The scoring backends."""

    @property
    def artifacts(self) -> Artifacts:
        """The store of trainings' files."""

    @property
    def metrics(self) -> ServiceMetrics:
        """Metrics of this process that both doors have."""


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


def _store(request: Request) -> ProjectStore:
    """The store narrowed to the caller, whom `AccessControl` has authenticated."""
    application = _application(request)
    quotas = Quotas(**application.settings.quota.model_dump())
    return CallerStore(application.store, request.state.caller, quotas)


def _signer(request: Request) -> CursorSigner:
    signer: CursorSigner = request.app.state.signer
    return signer


def _metrics(request: Request) -> ApiMetrics:
    metrics: ApiMetrics = request.app.state.metrics
    return metrics


def _models(request: Request) -> ModelDirectory:
    models: ModelDirectory = request.app.state.models
    return models


def _first_answer(request: Request) -> FirstAnswer:
    first_answer: FirstAnswer = request.app.state.first_answer
    return first_answer


def _streams(request: Request) -> StreamCounter:
    streams: StreamCounter = request.app.state.streams
    return streams


def _stopping(request: Request) -> asyncio.Event:
    event: asyncio.Event = request.app.state.stopping
    return event


def _job_id(job_id: Annotated[str, Path(description="the job's id", examples=["job_" + "0" * 32])]) -> JobId:
    """Refuse malformed ids before they reach the database."""
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound(f"there is no job {job_id!r}")
    return JobId(job_id)


def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="a repeated request with the same key returns the same job",
            json_schema_extra={"pattern": _IDEMPOTENCY_KEY},
        ),
    ] = None,
) -> str | None:
    if idempotency_key is not None and not re.fullmatch(_IDEMPOTENCY_KEY, idempotency_key):
        message = "must be 1 to 255 printable ASCII characters"
        raise InvalidInput("the Idempotency-Key cannot be used", [Fault(message, field="Idempotency-Key")])
    return idempotency_key


TheApplication = Annotated[Application, Depends(_application)]
TheStore = Annotated[ProjectStore, Depends(_store)]
TheSigner = Annotated[CursorSigner, Depends(_signer)]
TheModels = Annotated[ModelDirectory, Depends(_models)]
TheMetrics = Annotated[ApiMetrics, Depends(_metrics)]
TheFirstAnswer = Annotated[FirstAnswer, Depends(_first_answer)]
TheStreams = Annotated[StreamCounter, Depends(_streams)]
Stopping = Annotated[asyncio.Event, Depends(_stopping)]
TheJobId = Annotated[JobId, Depends(_job_id)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Limit = Annotated[int, Query(ge=1, le=1000, description="maximum number of items on a page")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the previous page", max_length=1000)]
