"""What operators and their machines ask for: models, health, metrics."""

import asyncio

from fastapi import APIRouter, Response

from api.dependencies import TheApplication, TheMetrics
from api.documentation import problems
from api.metrics import CONTENT_TYPE
from api.schemas import Health, ModelBody, ModelList
from service.errors import BackendError
from service.ports import BackendInfo, Scorers

router = APIRouter(tags=["operations"])

_PROBE_SECONDS = 10.0


@router.get("/v1/models", responses=problems())
async def get_models(application: TheApplication) -> ModelList:
    """The scoring backends that configurations can name, and what a probe finds out about each just now."""
    names = list(application.scorers.names())
    found = await asyncio.gather(*(_probe(application.scorers, name) for name in names))
    return ModelList(data=[ModelBody.of(info, default=info.name == names[0]) for info in found])


async def _probe(scorers: Scorers, name: str) -> BackendInfo:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await scorers.get(name).probe()
    except TimeoutError:
        problem = f"no answer within {_PROBE_SECONDS:.0f} seconds"
    except BackendError as error:
        problem = str(error)
    return BackendInfo(name=name, kind="", ready=False, reachable=False, problems=(problem,))


@router.get("/health/live")
async def live() -> Health:
    """The process answers."""
    return Health()


@router.get("/health/ready", responses=problems(503))
async def ready(application: TheApplication) -> Health:
    """The database answers and is migrated: requests can be served."""
    await application.store.ping()
    return Health()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(metrics: TheMetrics) -> Response:
    """Metrics of this process for Prometheus."""
    return Response(metrics.exposition(), media_type=CONTENT_TYPE)
