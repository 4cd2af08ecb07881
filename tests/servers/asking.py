"""One scoring call to each kind of server by its documentation, to compare adapters with."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.servers.connections import serving
from tests.servers.fake import FakeServer
from tests.servers.llamacpp import FakeLlamaCpp
from tests.servers.sglang import FakeSglang
from tests.servers.tgi import FakeTgi
from tests.servers.vllm import FakeVllm

KINDS: dict[str, type[FakeServer]] = {
    "tgi": FakeTgi,
    "vllm": FakeVllm,
    "sglang": FakeSglang,
    "llamacpp": FakeLlamaCpp,
}


@dataclass(frozen=True)
class TokenScores:
    """The result of a scoring call: values by token, and the number of cached tokens if the server reports it."""

    values: dict[int, float]
    cached: int | None


@asynccontextmanager
async def client_of(server: FakeServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server, which runs within the block."""
    async with serving(server) as url, httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        yield client


def path_of(kind: str) -> str:
    """The path of the scoring call."""
    return {"tgi": "/generate", "vllm": "/v1/completions", "sglang": "/generate", "llamacpp": "/completion"}[kind]


def body_of(server: FakeServer, text: str, wanted: Sequence[int]) -> dict[str, Any]:
    """The body of a call for the wanted tokens after a text, as ids if the kind accepts them."""
    ids = server.model.tokenizer.ids(text, special=True)
    match server.kind:
        case "tgi":
            return {"inputs": text, "parameters": {"max_new_tokens": 1, "details": True, "top_n_tokens": 5}}
        case "vllm":
            return {
                "model": "toy",
                "prompt": ids,
                "max_tokens": 1,
                "temperature": 0,
                "logprobs": 0,
                "logprob_token_ids": list(wanted),
                "return_tokens_as_token_ids": True,
            }
        case "sglang":
            return {
                "input_ids": ids,
                "sampling_params": {"max_new_tokens": 1, "temperature": 0},
                "return_logprob": True,
                "logprob_start_len": -1,
                "token_ids_logprob": list(wanted),
            }
        case _:
            return {"prompt": ids, "n_predict": 1, "temperature": -1, "n_probs": 200, "cache_prompt": True}


def read_reply(kind: str, content: Any) -> TokenScores:
    """The values of an answer."""
    match kind:
        case "tgi":
            return TokenScores({token["id"]: token["logprob"] for token in content["details"]["top_tokens"][0]}, None)
        case "vllm":
            row = content["choices"][0]["logprobs"]["top_logprobs"][0]
            values = {int(key.removeprefix("token_id:")): value for key, value in row.items()}
            return TokenScores(values, content["usage"]["prompt_tokens_details"]["cached_tokens"])
        case "sglang":
            meta = content["meta_info"]
            values = {token: value for value, token, _ in meta["output_token_ids_logprobs"][0]}
            return TokenScores(values, meta["cached_tokens"])
        case _:
            entries = content["completion_probabilities"][0]["top_logprobs"]
            return TokenScores({entry["id"]: entry["logprob"] for entry in entries}, content["timings"]["cache_n"])


async def ask(client: httpx.AsyncClient, server: FakeServer, text: str, wanted: Sequence[int]) -> TokenScores:
    """Ask, and read the answer. Raises httpx.HTTPError."""
    reply = await client.post(path_of(server.kind), json=body_of(server, text, wanted))
    reply.raise_for_status()
    return read_reply(server.kind, reply.json())
