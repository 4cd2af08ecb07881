"""A fake text-generation-inference server: real HTTP on loopback, scores by a function, planned failures."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

VOCABULARY = [" True", " False", " Tr", "ue", " maybe", " yes", " no", "."]


def token_id(text: str) -> int:
    """The same id on every server."""
    return VOCABULARY.index(text) + 10 if text in VOCABULARY else 1000 + crc32(text.encode()) % 1_000_000


@dataclass
class FakeTgi:
    """Answers like TGI; `plan` holds replies to give instead, one for each coming `/generate`."""

    context_tokens: int = 512
    cap: int = 8
    computed: bool = False
    plan: list[Response] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    grammars: list[dict[str, str]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    logprobs: dict[str, float] = field(
        default_factory=lambda: {" True": -0.4, " False": -1.3, ".": -4.5, " maybe": -4.8, " yes": -5.0, " no": -6.0}
    )
    splits: dict[str, Sequence[str]] = field(default_factory=dict)

    def app(self) -> FastAPI:
        """The routes that scoring uses."""
        app = FastAPI()
        app.add_api_route("/info", self._info)
        app.add_api_route("/tokenize", self._tokenize, methods=["POST"])
        app.add_api_route("/", self._generate, methods=["POST"])
        app.add_api_route("/generate", self._generate, methods=["POST"])
        return app

    async def _info(self) -> dict[str, Any]:
        return {
            "model_id": "fake",
            "model_sha": "abc",
            "version": "3.3.7",
            "max_input_tokens": self.context_tokens,
            "max_concurrent_requests": 128,
        }

    async def _tokenize(self, request: Request) -> list[dict[str, Any]]:
        text: str = (await request.json())["inputs"]
        tokens, stop = [{"id": 1, "text": "<s>", "start": 0, "stop": 0}], 0
        for word in self._words(text):
            start, stop = stop, stop + len(word)
            tokens.append({"id": token_id(word), "text": word, "start": start, "stop": stop})
        return tokens

    def _words(self, text: str) -> list[str]:
        first, *rest = text.split(" ")
        words = [first, *(f" {word}" for word in rest)]
        return [piece for word in words for piece in self.splits.get(word, [word])]

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        self.prompts.append(body["inputs"])
        self.keys.add(request.headers.get("authorization"))
        if self.plan:
            return self.plan.pop(0)
        count = body["parameters"]["top_n_tokens"]
        self.counts.append(count)
        if count > self.cap:
            error = f"Input validation error: `top_n_tokens` must be >= 0 and <= {self.cap}. Given: {count}"
            return JSONResponse({"error": error, "error_type": "validation"}, 422)
        best = sorted(self._allowed(body["parameters"].get("grammar")).items(), key=lambda item: -item[1])[:count]
        top = [{"id": token_id(t), "text": t, "logprob": p, "special": False} for t, p in best]
        details = {
            "finish_reason": "length",
            "generated_tokens": 1,
            "prefill": [],
            "tokens": top[:1],
            "top_tokens": [top],
            "seed": None,
        }
        if self.computed:
            details |= {"prompt_tokens": 10, "computed_tokens": 4}
        return JSONResponse({"generated_text": top[0]["text"], "details": details})

    def _allowed(self, grammar: dict[str, str] | None) -> dict[str, float]:
        """The probabilities of the texts that a regular expression allows, normalised to 1."""
        if grammar is None:
            return self.logprobs
        self.grammars.append(grammar)
        left = {text: value for text, value in self.logprobs.items() if re.fullmatch(grammar["value"], text)}
        total = math.log(sum(map(math.exp, left.values())))
        return {text: value - total for text, value in left.items()}
