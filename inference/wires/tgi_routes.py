"""The routes of text-generation-inference."""

import time

from fastapi import APIRouter, Request, Response

from inference.batching.generation import Generation
from inference.errors import ClientGone, GenerationFailed, InvalidRequest, Overloaded, RequestError, UnknownModel
from inference.metrics import Metrics
from inference.serving import Serving
from inference.wires import tgi
from inference.wires.bodies import read_body
from inference.wires.replies import json_reply


class TgiRoutes:
    """The handlers behind TGI's paths."""

    def __init__(self, serving: Serving, metrics: Metrics) -> None:
        self._serving = serving
        self._metrics = metrics

    async def generate(self, request: Request) -> Response:
        """`POST /generate`."""
        return await self._answer(request, is_compatible=False)

    async def compatible_generate(self, request: Request) -> Response:
        """`POST /` of the hosted API's clients: a list, by default with the prompt before the text."""
        return await self._answer(request, is_compatible=True)

    async def info(self) -> Response:
        """`GET /info`."""
        serving = self._serving
        return json_reply(tgi.info_reply(serving.language_model, serving.adapters.listed(), serving.limits))

    async def health(self) -> Response:
        """`GET /health`: empty while the inference thread lives."""
        if self._serving.scheduler.alive:
            return Response()
        return json_reply(tgi.error_reply("unhealthy", "healthcheck"), 503)

    async def tokenize(self, body: bytes) -> Response:
        """`POST /tokenize` with `inputs`."""
        try:
            inputs = read_body(tgi.GenerateBody, body).inputs
        except InvalidRequest as error:
            return self._refusal(error)
        return json_reply(tgi.tokenize_reply(inputs, self._serving.tokenizer))

    async def _answer(self, request: Request, *, is_compatible: bool) -> Response:
        started = time.perf_counter()
        try:
            with self._serving.admitted():
                reply = await self._generate(request, started, is_compatible=is_compatible)
        except RequestError as error:
            return self._refusal(error)
        self._metrics.answered("tgi", time.perf_counter() - started)
        return reply

    async def _generate(self, request: Request, started: float, *, is_compatible: bool) -> Response:
        serving = self._serving
        body = read_body(tgi.GenerateBody, await serving.body(request))
        if body.stream:
            raise InvalidRequest("`stream` is not supported by this server")
        if is_compatible and body.parameters.return_full_text is None:
            parameters = body.parameters.model_copy(update={"return_full_text": True})
            body = body.model_copy(update={"parameters": parameters})
        context = serving.language_model.context_tokens
        with serving.adapters.using(body.parameters.adapter_id) as adapter:
            tgi.check_parameters(body.parameters, body.inputs, serving.limits, context)
            wanted = tgi.generation_request(body.parameters, await serving.encode(body.inputs), context)
            validated = time.perf_counter()
            (generation,) = await serving.generate(request, [wanted], adapter)
        reply = tgi.generate_reply(body, generation, serving.tokenizer)
        response = json_reply([reply] if is_compatible else reply)
        times = {"validation": validated - started, "total": time.perf_counter() - started}
        response.headers.update(self._headers(generation, len(body.inputs), times))
        return response

    def _headers(self, generation: Generation, characters: int, seconds: dict[str, float]) -> dict[str, str]:
        generated = len(generation.steps)
        milliseconds = {
            "x-total-time": seconds["total"],
            "x-validation-time": seconds["validation"],
            "x-queue-time": generation.queue_seconds,
            "x-inference-time": generation.inference_seconds,
            "x-time-per-token": generation.inference_seconds / generated,
        }
        return {
            "x-compute-type": self._serving.language_model.device.type,
            "x-compute-time": str(seconds["total"]),
            "x-compute-characters": str(characters),
            "x-prompt-tokens": str(len(generation.request.prompt)),
            "x-computed-tokens": str(generation.computed_tokens),
            "x-generated-tokens": str(generated),
            **{name: str(int(value * 1000)) for name, value in milliseconds.items()},
        }

    def _refusal(self, error: RequestError) -> Response:
        self._metrics.refused(type(error).__name__)
        match error:
            case InvalidRequest():
                return json_reply(tgi.error_reply(f"Input validation error: {error}", "validation"), 422)
            case UnknownModel():
                message = f"Input validation error: `adapter_id` names no adapter of this server. {error}"
                return json_reply(tgi.error_reply(message, "validation"), 422)
            case Overloaded():
                return json_reply(tgi.error_reply("Model is overloaded", "overloaded"), 429)
            case ClientGone():
                return Response(status_code=499)
            case GenerationFailed():
                message = f"Request failed during generation: {error}"
                return json_reply(tgi.error_reply(message, "generation"), 424)
            case _:
                raise error


def tgi_router(routes: TgiRoutes) -> APIRouter:
    """Routes with TGI's paths, JSON, headers and errors."""
    router = APIRouter()
    router.add_api_route("/generate", routes.generate, methods=["POST"])
    router.add_api_route("/", routes.compatible_generate, methods=["POST"])
    router.add_api_route("/info", routes.info, methods=["GET"])
    router.add_api_route("/health", routes.health, methods=["GET"])
    return router
