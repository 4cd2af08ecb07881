"""The HTTP application: all wires over one language model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from inference.adapters.registry import Adapters
from inference.engine import Engine
from inference.errors import InvalidRequest
from inference.metrics import Metrics
from inference.serving import VERSION, Serving
from inference.settings import Limits
from inference.wires.adapter_routes import AdapterRoutes, adapter_router
from inference.wires.doors import Doors
from inference.wires.hosts import AllowedHosts
from inference.wires.openai_routes import OpenAiRoutes, openai_router
from inference.wires.replies import json_reply
from inference.wires.tgi import error_reply
from inference.wires.tgi_routes import TgiRoutes, tgi_router
from inference.wires.tree_routes import TreeRoutes, tree_router


def create_app(
    engine: Engine, limits: Limits, allowed: AllowedHosts | None = None, adapters: Adapters | None = None
) -> FastAPI:
    """Build an application over this engine, with adapters; its lifespan runs the inference thread.

    It answers to the allowed hosts, by default to loopback names and addresses.
    """
    serving = Serving(engine, limits, adapters)
    metrics = Metrics(serving)
    tgi, openai = TgiRoutes(serving, metrics), OpenAiRoutes(serving, metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        serving.scheduler.start()
        yield
        await serving.scheduler.stop()

    app = FastAPI(title="ICM inference server", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.serving = serving
    app.add_middleware(Doors, allowed=allowed or AllowedHosts("localhost"))
    app.include_router(tgi_router(tgi))
    app.include_router(openai_router(openai))
    app.include_router(tree_router(TreeRoutes(serving, metrics)))
    app.include_router(adapter_router(AdapterRoutes(serving)))

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        """Dispatch a path of two wires: `inputs` belongs to TGI, `prompt` to vLLM."""
        try:
            body = await serving.body(request)
        except InvalidRequest as error:
            return json_reply(error_reply(f"Input validation error: {error}", "validation"), 422)
        return await (openai if _has_prompt(body) else tgi).tokenize(body)

    @app.get("/metrics")
    async def show_metrics() -> Response:
        """Serve Prometheus' metrics."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return app


def _has_prompt(body: bytes) -> bool:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(content, dict) and "prompt" in content
