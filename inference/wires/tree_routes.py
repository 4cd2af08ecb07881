"""The routes of the server's own wire: whole prompt trees, token counts."""

import asyncio
import time

from fastapi import APIRouter, Request, Response

from inference.errors import ClientGone, GenerationFailed, InvalidRequest, Overloaded, RequestError, UnknownModel
from inference.metrics import Metrics
from inference.serving import Serving
from inference.tree_prompts import QueryTokens, Tree, tokenise
from inference.tree_scores import TreeAnswer, check_lengths, collect, pieces, requests_of
from inference.wires import tree
from inference.wires.bodies import read_body
from inference.wires.replies import json_reply


class TreeRoutes:
    """The handlers behind the paths of the server's own wire."""

    def __init__(self, serving: Serving, metrics: Metrics) -> None:
        self._serving = serving
        self._metrics = metrics

    async def score_tree(self, request: Request) -> Response:
        """`POST /v1/score_tree`: log p(label | prompt) for every query of a tree."""
        started = time.perf_counter()
        try:
            with self._serving.admitted():
                reply = await self._score(request)
        except RequestError as error:
            return self._refusal(error)
        self._metrics.answered("tree", time.perf_counter() - started)
        return reply

    async def count_tokens(self, request: Request) -> Response:
        """`POST /v1/count_tokens`: tokens of many texts; like `/tokenize` it needs no place among those under way."""
        try:
            body = read_body(tree.CountTokensBody, await self._serving.body(request))
        except RequestError as error:
            return self._refusal(error)
        counts = await asyncio.to_thread(self._serving.tokenizer.count_all, body.texts)
        return json_reply({"counts": counts})

    async def _score(self, request: Request) -> Response:
        serving = self._serving
        body = read_body(tree.ScoreTreeBody, await serving.body(request))
        answer = TreeAnswer()
        with serving.adapters.using(body.adapter) as adapter:
            queries = await asyncio.to_thread(self._tokenise, tree.tree_of(body))
            for piece in pieces(queries):
                wanted = [one for query in piece for one in requests_of(query)]
                collect(answer, piece, await serving.generate(request, wanted, adapter))
        return json_reply(tree.score_tree_reply(answer))

    def _tokenise(self, tree: Tree) -> list[QueryTokens]:
        queries = tokenise(self._serving.tokenizer, tree)
        check_lengths(queries, self._serving.language_model.context_tokens - 1)  # `max_input_tokens` of `GET /info`
        return queries

    def _refusal(self, error: RequestError) -> Response:
        self._metrics.refused(type(error).__name__)
        match error:
            case InvalidRequest():
                return _error(str(error), "validation", 422)
            case UnknownModel():
                return _error(f"adapter: {error}", "unknown_adapter", 404)
            case Overloaded():
                return _error("as many requests as this server takes are under way", "overloaded", 429)
            case ClientGone():
                return Response(status_code=499)
            case GenerationFailed():
                return _error(str(error), "generation", 500)
            case _:
                raise error


def tree_router(routes: TreeRoutes) -> APIRouter:
    """Routes of the server's own wire."""
    router = APIRouter()
    router.add_api_route("/v1/score_tree", routes.score_tree, methods=["POST"])
    router.add_api_route("/v1/count_tokens", routes.count_tokens, methods=["POST"])
    return router


def _error(message: str, error_type: str, code: int) -> Response:
    """An error: a sentence for people, a type for programs."""
    return json_reply({"error": message, "error_type": error_type}, code)
