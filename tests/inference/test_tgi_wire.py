"""Requests, replies and errors of text-generation-inference."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from inference.batching.generation import Generation
from inference.engine import Engine
from inference.errors import GenerationFailed
from inference.serving import Serving
from tests.support.inference.tiny import CONTEXT_TOKENS, plain_scores, train_tokenizer

PROMPT = "The city of Paris is in France."
JSON = {"Content-Type": "application/json"}


async def generate(client: httpx.AsyncClient, inputs: str = PROMPT, **parameters: Any) -> httpx.Response:
    body = {"inputs": inputs, "parameters": {"max_new_tokens": 1, "details": True, **parameters}}
    return await client.post("/generate", json=body)


def serving_of(app: FastAPI) -> Serving:
    serving: Serving = app.state.serving
    return serving


async def test_a_reply_has_the_shape_of_tgis(client: httpx.AsyncClient, engine: Engine) -> None:
    reply = await generate(client, top_n_tokens=2)
    tokenizer = train_tokenizer()
    ids = tokenizer.encode(PROMPT)
    scores = plain_scores(engine, ids)
    values, best = (part.tolist() for part in scores.topk(2))
    texts = [tokenizer.decode([token]) for token in best]
    close = [pytest.approx(value, abs=1e-5) for value in values]
    assert reply.status_code == 200
    assert reply.json() == {
        "generated_text": texts[0],
        "details": {
            "finish_reason": "length",
            "generated_tokens": 1,
            "prefill": [],
            "tokens": [{"id": best[0], "text": texts[0], "logprob": close[0], "special": False}],
            "top_tokens": [
                [
                    {"id": best[0], "text": texts[0], "logprob": close[0], "special": False},
                    {"id": best[1], "text": texts[1], "logprob": close[1], "special": False},
                ]
            ],
            "seed": None,
            "prompt_tokens": len(ids),
            "computed_tokens": len(ids),
        },
    }
    assert reply.headers["x-prompt-tokens"] == reply.headers["x-computed-tokens"] == str(len(ids))
    assert reply.headers["x-generated-tokens"] == "1"
    assert reply.headers["x-compute-type"] == "cpu"


async def test_what_was_sent_before_is_not_computed_again(client: httpx.AsyncClient) -> None:
    first, second = await generate(client, PROMPT), await generate(client, PROMPT + " True\n\nThe")
    computed = [int(reply.headers["x-computed-tokens"]) for reply in (first, second)]
    sent = [int(reply.headers["x-prompt-tokens"]) for reply in (first, second)]
    assert computed == [sent[0], sent[1] - sent[0]]
    assert second.json()["details"]["computed_tokens"] == computed[1]


async def test_concurrent_requests_compute_their_common_prefix_once(client: httpx.AsyncClient) -> None:
    replies = await asyncio.gather(*(generate(client, f"{PROMPT}\n\n{number}") for number in range(8)))
    details = [reply.json()["details"] for reply in replies]
    assert sum(each["computed_tokens"] for each in details) == details[0]["prompt_tokens"] + 7
    metrics = (await client.get("/metrics")).text
    assert f"inference_tokens_sent_total {sum(each['prompt_tokens'] for each in details)}.0" in metrics
    assert f"inference_tokens_computed_total {details[0]['prompt_tokens'] + 7}.0" in metrics
    assert "inference_prompts_total 8.0" in metrics
    assert f"inference_cache_tokens {details[0]['prompt_tokens'] + 7}.0" in metrics


async def test_without_details_there_is_the_text_alone(client: httpx.AsyncClient) -> None:
    reply = await generate(client, details=False)
    assert list(reply.json()) == ["generated_text"]


async def test_the_compatible_route_gives_a_list_and_the_prompt_in_front(client: httpx.AsyncClient) -> None:
    plain = (await generate(client)).json()["generated_text"]
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 1}}
    assert (await client.post("/", json=body)).json() == [{"generated_text": PROMPT + plain}]


async def test_truncate_keeps_the_last_tokens(client: httpx.AsyncClient) -> None:
    ids = train_tokenizer().encode(PROMPT)
    reply = await generate(client, truncate=3)
    shorter = await client.post("/v1/completions", json={"prompt": ids[-3:], "max_tokens": 1, "logprobs": 0})
    assert reply.headers["x-prompt-tokens"] == "3"
    assert [reply.json()["details"]["tokens"][0]["logprob"]] == pytest.approx(
        shorter.json()["choices"][0]["logprobs"]["token_logprobs"], abs=1e-5
    )


async def test_generation_ends_at_a_stop_sequence(client: httpx.AsyncClient) -> None:
    tokens = (await generate(client, max_new_tokens=8)).json()["details"]["tokens"]
    number, stop = next((n, token["text"]) for n, token in enumerate(tokens) if token["text"].isascii())
    stopped = (await generate(client, max_new_tokens=8, stop=[stop])).json()
    assert stopped["details"]["finish_reason"] == "stop_sequence"
    assert stopped["details"]["generated_tokens"] == number + 1
    assert stopped["generated_text"].endswith(stop)


def _prompt_of(tokens: int) -> str:
    """BOS and so many tokens less one."""
    return "\n" * (tokens - 1)


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        ("", {}, "`inputs` cannot be empty"),
        (PROMPT, {"top_n_tokens": 51}, "`top_n_tokens` must be >= 0 and <= 50. Given: 51"),
        (PROMPT, {"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
        (PROMPT, {"stop": ["a"] * 5}, "`stop` supports up to 4 stop sequences. Given: 5"),
        (PROMPT, {"truncate": 0}, "`truncate` must be strictly positive and less than 255. Given: 0"),
        (
            _prompt_of(256),
            {},
            "`inputs` tokens + `max_new_tokens` must be <= 256. Given: 256 `inputs` tokens and 1 `max_new_tokens`",
        ),
        (_prompt_of(256), {"max_new_tokens": None}, "`inputs` must have less than 255 tokens. Given: 256"),
    ],
)
async def test_requests_that_tgi_refuses_are_refused_in_its_words(
    client: httpx.AsyncClient, inputs: str, parameters: dict[str, Any], message: str
) -> None:
    reply = await generate(client, inputs, **parameters)
    assert reply.status_code == 422
    assert reply.json() == {"error": f"Input validation error: {message}", "error_type": "validation"}


@pytest.mark.parametrize(
    "parameters",
    [
        {"do_sample": True},
        {"temperature": 0.5},
        {"top_k": 3},
        {"top_p": 0.9},
        {"repetition_penalty": 1.1},
        {"best_of": 2},
        {"grammar": {"type": "regex", "value": "a"}},
    ],
)
async def test_parameters_that_would_change_the_scores_are_refused(
    client: httpx.AsyncClient, parameters: dict[str, Any]
) -> None:
    reply = await generate(client, **parameters)
    assert reply.status_code == 422
    assert f"`{next(iter(parameters))}` is not supported" in reply.json()["error"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"inputs": 5}', b'{"inputs": "a", "parameters": {"top_n_tokens": "2"}}']
)
async def test_a_body_that_is_no_request_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    reply = await client.post("/generate", content=body, headers=JSON)
    assert reply.status_code == 422
    assert reply.json()["error_type"] == "validation"


async def test_the_longest_prompt_that_fits_is_answered(client: httpx.AsyncClient) -> None:
    reply = await generate(client, _prompt_of(CONTEXT_TOKENS - 1))
    assert reply.headers["x-prompt-tokens"] == str(CONTEXT_TOKENS - 1)


async def test_one_request_too_many_is_refused_as_overloaded(client: httpx.AsyncClient, app: FastAPI) -> None:
    serving_of(app).in_flight = 8
    reply = await generate(client)
    assert reply.status_code == 429
    assert reply.json() == {"error": "Model is overloaded", "error_type": "overloaded"}
    serving_of(app).in_flight = 0
    assert (await generate(client)).status_code == 200
    assert 'inference_requests_refused_total{reason="Overloaded"} 1.0' in (await client.get("/metrics")).text


async def test_a_failed_generation_is_reported(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> list[Generation]:
        raise GenerationFailed("out of memory")

    monkeypatch.setattr(serving_of(app).scheduler, "generate", fail)
    reply = await generate(client)
    assert reply.status_code == 424
    assert reply.json() == {"error": "Request failed during generation: out of memory", "error_type": "generation"}


async def test_info_has_the_limits(client: httpx.AsyncClient) -> None:
    info = (await client.get("/info")).json()
    assert info["model_id"] == "tiny"
    assert len(info["model_sha"]) == 64
    assert (info["max_input_tokens"], info["max_total_tokens"]) == (CONTEXT_TOKENS - 1, CONTEXT_TOKENS)
    assert (info["max_concurrent_requests"], info["max_top_n_tokens"]) == (8, 50)
    assert info["router"] == "icm-inference"


async def test_tokenize_returns_ids_and_offsets(client: httpx.AsyncClient) -> None:
    reply = (await client.post("/tokenize", json={"inputs": PROMPT})).json()
    assert [token["id"] for token in reply] == train_tokenizer().encode(PROMPT)
    assert reply[0] == {"id": 0, "text": "", "start": 0, "stop": 0}
    assert "".join(token["text"] for token in reply) == PROMPT
    assert (await client.post("/tokenize", content=b"{", headers=JSON)).status_code == 422


async def test_health_is_empty_while_the_server_lives(client: httpx.AsyncClient, app: FastAPI) -> None:
    reply = await client.get("/health")
    assert (reply.status_code, reply.content) == (200, b"")
    await serving_of(app).scheduler.stop()
    reply = await client.get("/health")
    assert (reply.status_code, reply.json()["error_type"]) == (503, "healthcheck")
