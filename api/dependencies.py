"""Dependencies of endpoints, as annotated aliases."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol

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


# Dependencies are coroutines, since FastAPI runs a plain function in another thread.
def of_app(name: str) -> Callable[[Request], Awaitable[Any]]:
    """A dependency on the part of this name that `create_app` put into the application's state."""

    async def part(request: Request) -> Any:
        return getattr(request.app.state, name)

    return part


TheApplication = Annotated[Application, Depends(of_app("application"))]


async def _store(request: Request, application: TheApplication) -> ProjectStore:
    """The store narrowed to the caller, whom `AccessControl` has authenticated."""
    quotas = Quotas(**application.settings.quota.model_dump())
    return CallerStore(application.store, request.state.caller, quotas)


TheStore = Annotated[ProjectStore, Depends(_store)]


async def _download_store(
    store: TheStore,
    application: TheApplication,
    downloads: Annotated[asyncio.Semaphore, Depends(of_app("downloads"))],
) -> ProjectStore:
    """The store for downloads, of which few read at once, to leave database connections for other requests."""
    return CallerStore(application.store, store.caller, store.quotas, turns=downloads)


async def _job_id(job_id: Annotated[str, Path(description="the job's id", examples=["job_" + "0" * 32])]) -> JobId:
    """Refuse malformed ids before they reach the database."""
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound(f"there is no job {job_id!r}")
    return JobId(job_id)


async def _idempotency_key(
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


TheDownloadStore = Annotated[ProjectStore, Depends(_download_store)]
TheSigner = Annotated[CursorSigner, Depends(of_app("signer"))]
TheModels = Annotated[ModelDirectory, Depends(of_app("models"))]
TheMetrics = Annotated[ApiMetrics, Depends(of_app("metrics"))]
TheFirstAnswer = Annotated[FirstAnswer, Depends(of_app("first_answer"))]
TheStreams = Annotated[StreamCounter, Depends(of_app("streams"))]
Stopping = Annotated[asyncio.Event, Depends(of_app("stopping"))]
TheJobId = Annotated[JobId, Depends(_job_id)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Limit = Annotated[int, Query(ge=1, le=1000, description="maximum number of items on a page")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the previous page", max_length=1000)]
