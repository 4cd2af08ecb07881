"""The public clients, unchanged, against a real server."""

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import OverloadedError, ValidationError

from inference.engine import Engine
from inference.serving import Serving
from tests.support.inference.tiny import plain_scores, train_tokenizer, until

PROMPT = "The city of Paris is in France. True\n\nThe city of Rome is in"


async def test_the_tgi_client_gets_the_likeliest_tokens(url: str, engine: Engine) -> None:
    async with AsyncInferenceClient(model=url) as client:
        output = await client.text_generation(
            PROMPT, details=True, max_new_tokens=1, top_n_tokens=40, return_full_text=False
        )
    scores = plain_scores(engine, train_tokenizer().encode(PROMPT))
    assert output.details is not None
    assert output.details.top_tokens is not None
    (top,) = output.details.top_tokens
    assert [token["id"] for token in top] == scores.topk(40).indices.tolist()
    assert [token["logprob"] for token in top] == pytest.approx(scores.topk(40).values.tolist(), abs=1e-5)
    assert output.generated_text == output.details.tokens[0].text
    assert output.details["computed_tokens"] == output.details["prompt_tokens"]


async def test_the_tgi_client_on_the_generate_route_gets_the_same(url: str) -> None:
    texts = []
    for address in (url, f"{url}/generate"):
        async with AsyncInferenceClient(model=address) as client:
            texts.append(await client.text_generation(PROMPT, max_new_tokens=5, return_full_text=False))
    assert texts[0] == texts[1]


async def test_many_tgi_clients_at_once_get_their_own_answers(url: str, engine: Engine) -> None:
    prompts = [f"{PROMPT} {number}" for number in range(8)]
    async with AsyncInferenceClient(model=url) as client:
        outputs = await asyncio.gather(
            *(client.text_generation(prompt, details=True, max_new_tokens=1, top_n_tokens=1) for prompt in prompts)
        )
    for prompt, output in zip(prompts, outputs, strict=True):
        expected = plain_scores(engine, train_tokenizer().encode(prompt))
        assert output.details is not None
        assert output.details.tokens[0].logprob == pytest.approx(float(expected.max()), abs=1e-5)


async def test_the_tgi_client_learns_why_a_request_was_refused(url: str, app: FastAPI) -> None:
    async with AsyncInferenceClient(model=url) as client:
        with pytest.raises(ValidationError, match=r"`top_n_tokens` must be >= 0 and <= 50\. Given: 99"):
            await client.text_generation(PROMPT, details=True, top_n_tokens=99)
        serving: Serving = app.state.serving
        serving.in_flight = 8
        with pytest.raises(OverloadedError):
            await client.text_generation(PROMPT, max_new_tokens=1)


async def test_the_openai_client_gets_log_probabilities(url: str, engine: Engine) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        models = [card.id async for card in client.models.list()]
        completion = await client.completions.create(
            model=models[0],
            prompt=PROMPT,
            max_tokens=1,
            temperature=0,
            logprobs=0,
            extra_body={"logprob_token_ids": [90, 91], "return_tokens_as_token_ids": True},
        )
    scores = plain_scores(engine, train_tokenizer().encode(PROMPT))
    log_probabilities = completion.choices[0].logprobs
    assert log_probabilities is not None
    assert log_probabilities.top_logprobs is not None
    top = log_probabilities.top_logprobs[0]
    assert [top["token_id:90"], top["token_id:91"]] == pytest.approx(scores[[90, 91]].tolist(), abs=1e-5)
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == len(train_tokenizer().encode(PROMPT))


async def test_a_client_that_hangs_up_leaves_nothing_behind(url: str, app: FastAPI) -> None:
    serving: Serving = app.state.serving
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 150}}
    async with httpx.AsyncClient() as client:
        task = asyncio.create_task(client.post(f"{url}/generate", json=body))
        await until(lambda: serving.in_flight > 0)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: serving.in_flight == 0)
        assert serving.scheduler.prompts < 150
        metrics = (await client.get(f"{url}/metrics")).text
    assert 'inference_requests_refused_total{reason="ClientGone"} 1.0' in metrics


@pytest.mark.parametrize("path", ["/generate", "/v1/completions", "/v1/score_tree", "/v1/count_tokens"])
async def test_a_client_that_hangs_up_before_its_body_is_whole_is_no_error(app: FastAPI, path: str) -> None:
    first: MutableMapping[str, Any] = {"type": "http.request", "body": b"{", "more_body": True}
    parts = iter([first, {"type": "http.disconnect"}])
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return next(parts)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
    await app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert app.state.serving.in_flight == 0


def test_folders_with_other_weights_have_other_fingerprints(tiny_folder: Path, url: str) -> None:
    sha = httpx.get(f"{url}/info").json()["model_sha"]
    assert sha == httpx.get(f"{url}/info").json()["model_sha"]
    assert tiny_folder.name == httpx.get(f"{url}/info").json()["model_id"]
