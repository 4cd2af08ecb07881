"""Routes for operators and their machines: models, health, metrics."""

from fastapi import APIRouter, Response

from api.dependencies import TheApplication, TheFirstAnswer, TheMetrics, TheModels
from api.openapi.documentation import problems
from api.schemas import Health, ModelBody, ModelList
from service.observability.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"])


@router.get("/v1/models", responses=problems())
async def get_models(models: TheModels) -> ModelList:
    """List the scoring backends for configurations, the default first, with the findings of a probe.

    The request probes the backends, unless the service has done so a few seconds ago. The probe tries the labels True
    and False; creating or estimating a job tries the job's labels.
    """
    return ModelList(data=[ModelBody.of(info, default=place == 0) for place, info in enumerate(await models.listed())])


@router.get("/health/live")
async def live() -> Health:
    """Check whether the process answers."""
    return Health()


@router.get("/health/ready", responses=problems(503))
async def ready(application: TheApplication, first_answer: TheFirstAnswer) -> Health:
    """Check that the database answers and is migrated and, if configured, that the default backend has answered."""
    await application.store.ping()
    await first_answer.check()
    return Health()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(application: TheApplication, metrics: TheMetrics) -> Response:
    """Read metrics for Prometheus: of this process, and of the jobs in the database (docs/operations.md)."""
    return Response(await metrics.exposition(application.store.job_statistics), media_type=CONTENT_TYPE)
