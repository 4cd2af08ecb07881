"""What operators and their machines ask for: models, health, metrics."""

from fastapi import APIRouter, Response

from api.dependencies import TheApplication, TheFirstAnswer, TheMetrics, TheModels
from api.openapi.documentation import problems
from api.schemas import Health, ModelBody, ModelList
from service.observability.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"])


@router.get("/v1/models", responses=problems())
async def get_models(models: TheModels) -> ModelList:
    """The scoring backends that configurations can name, the default first, and what a probe found out about each.

    Probes are made when the list is asked for, and remembered for a few seconds. They try the labels True and
    False; a job's own labels are tried when it is created or estimated.
    """
    return ModelList(data=[ModelBody.of(info, default=place == 0) for place, info in enumerate(await models.listed())])


@router.get("/health/live")
async def live() -> Health:
    """The process answers."""
    return Health()


@router.get("/health/ready", responses=problems(503))
async def ready(application: TheApplication, first_answer: TheFirstAnswer) -> Health:
    """The database answers and is migrated, and the default backend has answered once where that is waited for."""
    await application.store.ping()
    await first_answer.check()
    return Health()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(application: TheApplication, metrics: TheMetrics) -> Response:
    """Metrics for Prometheus: of this process, and of the jobs in the database (docs/operations.md)."""
    return Response(await metrics.exposition(application.store.job_statistics), media_type=CONTENT_TYPE)
