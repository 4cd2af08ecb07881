"""Compose the API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from api import docs_page, operations
from api.cursors import CursorSigner
from api.dependencies import Application
from api.edge.access import AccessControl, HostCheck
from api.edge.limits import BodyLimit, BodyPace, ConnectionLimit, HeadLimit
from api.edge.middleware import RequestContext
from api.errors import install_handlers
from api.labelling import events, jobs, results
from api.labelling.event_reads import READS_AT_ONCE, EventReads
from api.labelling.submissions import rooms_of
from api.metrics import ApiMetrics
from api.openapi.documentation import install_openapi
from api.readiness import FirstAnswer
from api.training import routes as trainings
from api.training import scoring
from api.webhooks import routes as webhooks
from api.webhooks.bodies import NewWebhookBody, WebhookChangeBody
from service.access.hosts import AllowedHosts
from service.access.streams import StreamCounter
from service.jobs.backends import ModelDirectory
from service.trainings import control
from service.trainings.request import TrainingRequest
from service.trainings.scoring.request import ScoringRequest

_FORM_BYTES = 2_000_000  # size of a request beside the file itself
_DOWNLOADS_AT_ONCE = 2  # downloads that read the database at once; slow readers do not count

# FastAPI's own telemetry would record whole addresses, with everything that callers put there by mistake.
_NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)

_DESCRIPTION = """
This service labels a data set that nobody has labelled, by Internal Coherence Maximization: it searches for the labels
that a pretrained language model finds most coherent. POST rows and a question, wait, and download the labelled rows.
"""


def create_app(application: Application) -> FastAPI:
    """Build the API over a wired service, which the caller closes.

    Setting `app.state.stopping` ends open event streams.
    """
    app = FastAPI(
        title="ICM labelling service",
        version=version("icm-service"),
        description=_DESCRIPTION.strip(),
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,  # we serve our own page, see api/docs_page.py
        redoc_url=None,
        separate_input_output_schemas=False,
        telemetry=_NO_TELEMETRY,
    )
    server = application.settings.server
    metrics = ApiMetrics(application.metrics)
    app.state.application = application
    app.state.metrics = metrics
    app.state.models = ModelDirectory(application.scorers)
    app.state.signer = CursorSigner(application.settings.database_url.get_secret_value())
    app.state.streams = StreamCounter()
    turns = asyncio.Semaphore(READS_AT_ONCE)
    app.state.event_reads = EventReads(turns=turns)
    app.state.training_event_reads = EventReads(control.list_events, control.read_stream_quotas, turns)
    app.state.downloads = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)
    app.state.rooms = rooms_of(server)
    app.state.first_answer = FirstAnswer(application.scorers, is_awaited=server.ready_with_backend)
    app.state.stopping = asyncio.Event()
    labelling = (jobs.router, results.router, events.router)
    for router in (*labelling, trainings.router, scoring.router, webhooks.router, operations.router, docs_page.router):
        app.include_router(router)
    app.add_middleware(BodyLimit, max_bytes=application.settings.upload.max_bytes + _FORM_BYTES)
    app.add_middleware(BodyPace, seconds=server.body_seconds, min_bytes=server.min_bytes)
    app.add_middleware(AccessControl, application=application)
    app.add_middleware(HostCheck, allowed=AllowedHosts(application.settings.host, application.settings.access.hosts))
    app.add_middleware(ConnectionLimit)
    app.add_middleware(HeadLimit)
    app.add_middleware(RequestContext, metrics=metrics)
    install_handlers(app)
    install_openapi(app, NewWebhookBody, WebhookChangeBody, TrainingRequest, ScoringRequest)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.stopping.set()
    app.state.first_answer.close()
