"""An inference server in a separate process: the deterministic scorer behind the embedded server's tree call."""

import asyncio
import re
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

import orjson

from service.identifiers import Row
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import PromptTree, Query, TreeScores

_TWIN = DeterministicScorer()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # send an answer in one piece, or its end waits for the acknowledgement of the first part
    model = ""

    def do_GET(self) -> None:
        self._answer({"model_id": self.model, "version": "twin", "max_input_tokens": 8192})

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(_CALLS[self.path](body))

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Log no requests."""

    def _answer(self, document: object) -> None:
        payload = orjson.dumps(document)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def _count(body: dict[str, Any]) -> dict[str, Any]:
    return {"counts": asyncio.run(_TWIN.count_tokens(body["texts"]))}


def _score(body: dict[str, Any]) -> dict[str, Any]:
    rows = range(len(body["queries"]))
    scores: TreeScores = asyncio.run(_TWIN.score(_tree(body, 0), body["labels"]))
    usage = scores.usage
    return {
        "log_probabilities": [scores.log_probabilities[Row(row)] for row in rows],
        "usage": {
            "prompts": usage.prompts,
            "tokens_sent": usage.tokens_sent,
            "tokens_computed": usage.tokens_computed,
        },
    }


def _complete(body: dict[str, Any]) -> dict[str, Any]:
    """One likeliest token for each prompt, which identifies the server."""
    choices = [{"index": i, "logprobs": {"token_logprobs": [-0.5]}} for i in range(len(body["prompt"]))]
    return {"choices": choices}


def _tokenize(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Words, each with the space before it."""
    words = re.finditer(r"\s*\S+", body["inputs"])
    return [{"id": zlib.crc32(word[0].encode()), "start": word.start(), "stop": word.end()} for word in words]


def _tree(body: dict[str, Any], node: int) -> PromptTree:
    asked = [(Row(row), query) for row, query in enumerate(body["queries"]) if query["node"] == node]
    children = (child for child, other in enumerate(body["nodes"]) if other["parent"] == node)
    return PromptTree(
        body["nodes"][node]["text"],
        tuple(Query(row, query["text"]) for row, query in asked),
        tuple(_tree(body, child) for child in children),
    )


_CALLS: dict[str, Callable[[dict[str, Any]], object]] = {
    "/v1/count_tokens": _count,
    "/v1/score_tree": _score,
    "/v1/completions": _complete,
    "/tokenize": _tokenize,
}


def main(port: int, model: str, told: Connection) -> None:
    """Send the port once the server answers, and serve until killed; port 0 takes a free one."""
    _Handler.model = model
    with ThreadingHTTPServer(("127.0.0.1", port), _Handler) as server:
        told.send(server.server_port)
        server.serve_forever()
