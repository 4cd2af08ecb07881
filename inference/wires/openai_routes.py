"""The routes of vLLM's OpenAI-style server that scoring needs."""

import time

from fastapi import APIRouter, Request, Response

from inference.errors import ClientGone, GenerationFailed, InvalidRequest, Overloaded, RequestError, UnknownModel
from inference.metrics import Metrics
from inference.serving import VERSION, Serving
from inference.wires import openai
from inference.wires.bodies import read_body
from inference.wires.replies import json_reply


class OpenAiRoutes:
    """The handlers behind vLLM's paths."""

    def __init__(self, serving: Serving, metrics: Metrics) -> None:
        self._serving = serving
        self._metrics = metrics
        self._created = int(time.time())

    async def completions(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        started = time.perf_counter()
        try:
            with self._serving.admitted():
                reply = await self._complete(request)
        except RequestError as error:
            return self._refusal(error)
        self._metrics.answered("openai", time.perf_counter() - started)
        return reply

    async def models(self) -> Response:
        """`GET /v1/models`."""
        serving = self._serving
        return json_reply(openai.models_reply(serving.language_model, serving.adapters.listed(), self._created))

    async def version(self) -> Response:
        """`GET /version`."""
        return json_reply({"version": VERSION})

    async def ping(self) -> Response:
        """`GET /ping`: empty while the inference thread lives."""
        return Response(status_code=200 if self._serving.scheduler.alive else 503)

    async def tokenize(self, body: bytes) -> Response:
        """`POST /tokenize` with `prompt`."""
        serving = self._serving
        try:
            wanted = read_body(openai.TokenizeBody, body)
        except InvalidRequest as error:
            return self._refusal(error)
        ids = await serving.encode(wanted.prompt, add_special_tokens=wanted.add_special_tokens)
        return json_reply(openai.tokenize_reply(wanted, ids, serving.tokenizer, serving.language_model))

    async def _complete(self, request: Request) -> Response:
        serving, base = self._serving, self._serving.language_model
        body = read_body(openai.CompletionBody, await serving.body(request))
        with serving.adapters.using(body.model or None) as adapter:
            openai.check_completion(body, base, serving.limits)
            prompts = [await self._ids(prompt, body) for prompt in body.prompts()]
            wanted = [openai.generation_request(body, ids, base) for ids in prompts]
            generations = await serving.generate(request, wanted, adapter)
        return json_reply(openai.completion_reply(body, generations, serving.tokenizer, base, int(time.time())))

    async def _ids(self, prompt: str | list[int], body: openai.CompletionBody) -> list[int]:
        if isinstance(prompt, str):
            return await self._serving.encode(prompt, add_special_tokens=body.add_special_tokens)
        return prompt

    def _refusal(self, error: RequestError) -> Response:
        self._metrics.refused(type(error).__name__)
        match error:
            case InvalidRequest():
                return _error(str(error), "BadRequestError", 400, error.parameter)
            case UnknownModel():
                return _error(str(error), "NotFoundError", 404, "model")
            case Overloaded():
                return _error("The engine is currently busy. Please retry.", "ServiceUnavailableError", 503)
            case ClientGone():
                return Response(status_code=499)
            case GenerationFailed():
                return _error(str(error), "InternalServerError", 500)
            case _:
                raise error


def openai_router(routes: OpenAiRoutes) -> APIRouter:
    """Routes with vLLM's paths, JSON and errors."""
    router = APIRouter()
    router.add_api_route("/v1/completions", routes.completions, methods=["POST"])
    router.add_api_route("/v1/models", routes.models, methods=["GET"])
    router.add_api_route("/version", routes.version, methods=["GET"])
    router.add_api_route("/ping", routes.ping, methods=["GET"])
    return router


def _error(message: str, kind: str, code: int, parameter: str | None = None) -> Response:
    return json_reply(openai.error_reply(message, kind, code, parameter), code)
