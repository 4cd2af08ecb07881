"""Requests, replies and errors of vLLM's completions."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from inference.engine import Engine
from tests.support.inference.tiny import CONTEXT_TOKENS, plain_scores, train_tokenizer

PROMPT = "The city of Paris is in France."


async def complete(client: httpx.AsyncClient, prompt: Any = PROMPT, **fields: Any) -> httpx.Response:
    body = {"model": "tiny", "prompt": prompt, "max_tokens": 1, "temperature": 0, **fields}
    return await client.post("/v1/completions", json=body)


async def test_log_probabilities_of_chosen_tokens_come_by_id(client: httpx.AsyncClient, engine: Engine) -> None:
    ids = [0, 70, 71, 72]
    fields = {"logprobs": 0, "logprob_token_ids": [90, 91], "return_tokens_as_token_ids": True}
    reply = (await complete(client, ids, **fields)).json()
    scores = plain_scores(engine, ids)
    best = int(scores.argmax())
    close = {token: pytest.approx(float(scores[token]), abs=1e-5) for token in (best, 90, 91)}
    assert reply["choices"][0]["logprobs"] == {
        "text_offset": [0],
        "tokens": [f"token_id:{best}"],
        "token_logprobs": [close[best]],
        "top_logprobs": [{f"token_id:{token}": value for token, value in close.items()}],
    }
    assert next(iter(reply["choices"][0]["logprobs"]["top_logprobs"][0])) == f"token_id:{best}"
    assert reply["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": 1,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert reply["object"] == "text_completion"
    assert reply["choices"][0]["finish_reason"] == "length"


async def test_the_likeliest_tokens_come_by_text(client: httpx.AsyncClient, engine: Engine) -> None:
    reply = (await complete(client, logprobs=3)).json()
    scores = plain_scores(engine, train_tokenizer().encode(PROMPT))
    (top,) = reply["choices"][0]["logprobs"]["top_logprobs"]
    assert sorted(top.values(), reverse=True) == pytest.approx(scores.topk(3).values.tolist(), abs=1e-5)


async def test_the_cap_on_alternatives_does_not_count_beside_chosen_tokens(client: httpx.AsyncClient) -> None:
    fields = {"logprobs": 51, "logprob_token_ids": [90], "return_tokens_as_token_ids": True}
    (top,) = (await complete(client, **fields)).json()["choices"][0]["logprobs"]["top_logprobs"]
    assert len(top) <= 2
    assert "token_id:90" in top


async def test_a_list_of_prompts_is_answered_in_order_and_shares_its_prefix(client: httpx.AsyncClient) -> None:
    prompts = [[5, 6, 7, 8], [5, 6, 7, 9], [5, 6, 7, 8]]
    reply = (await complete(client, prompts, logprobs=1)).json()
    alone = [(await complete(client, prompt, logprobs=1)).json()["choices"][0] for prompt in prompts]
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    for choice, single in zip(reply["choices"], alone, strict=True):
        assert choice["logprobs"]["token_logprobs"] == pytest.approx(single["logprobs"]["token_logprobs"], abs=1e-5)
    assert reply["usage"]["prompt_tokens"] == 12
    assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] == 7


async def test_texts_are_tokenised_with_bos_by_default(client: httpx.AsyncClient) -> None:
    count = len(train_tokenizer().encode(PROMPT))
    with_bos, without = await complete(client), await complete(client, [PROMPT], add_special_tokens=False)
    assert with_bos.json()["usage"]["prompt_tokens"] == count
    assert without.json()["usage"]["prompt_tokens"] == count - 1


async def test_a_stop_string_ends_the_text_before_it(client: httpx.AsyncClient) -> None:
    whole = (await complete(client, max_tokens=8, logprobs=0)).json()["choices"][0]
    stop = next(token for token in whole["logprobs"]["tokens"] if token.isascii())
    choice = (await complete(client, max_tokens=8, stop=stop)).json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["text"] == whole["text"][: whole["text"].find(stop)]


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"echo": True}, "echo"),
        ({"temperature": 0.7}, "temperature"),
        ({"stream": True}, "stream"),
        ({"n": 2}, "n"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"logit_bias": {"5": 1.0}}, "logit_bias"),
        ({"allowed_token_ids": [5]}, "allowed_token_ids"),
        ({"truncate_prompt_tokens": 5}, "truncate_prompt_tokens"),
        ({"logprobs": 51}, "logprobs"),
        ({"logprob_token_ids": [5]}, "logprob_token_ids"),
        ({"logprobs": 0, "logprob_token_ids": [400]}, "logprob_token_ids"),
        ({"logprobs": 0, "logprob_token_ids": list(range(129))}, "logprob_token_ids"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [400]}, "prompt"),
        ({"prompt": [5] * CONTEXT_TOKENS}, "input_tokens"),
    ],
)
async def test_unsupported_parameters_are_refused_by_name(
    client: httpx.AsyncClient, fields: dict[str, Any], parameter: str
) -> None:
    reply = await complete(client, **fields)
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert (error["type"], error["param"], error["code"]) == ("BadRequestError", parameter, 400)


async def test_the_refusal_of_a_long_prompt_has_its_length(client: httpx.AsyncClient) -> None:
    reply = await complete(client, [5] * 300)
    message = reply.json()["error"]["message"]
    assert message.startswith("This model's maximum context length is 256 tokens.")
    assert "your prompt contains 300 input tokens" in message


async def test_another_model_is_not_found(client: httpx.AsyncClient) -> None:
    reply = await complete(client, model="gpt-9")
    assert reply.status_code == 404
    assert reply.json()["error"]["type"] == "NotFoundError"


async def test_one_request_too_many_is_refused_as_overloaded(client: httpx.AsyncClient, app: FastAPI) -> None:
    app.state.serving.in_flight = 8
    assert (await complete(client)).status_code == 503


async def test_models_have_the_context_length(client: httpx.AsyncClient) -> None:
    (card,) = (await client.get("/v1/models")).json()["data"]
    assert (card["id"], card["max_model_len"], card["object"]) == ("tiny", CONTEXT_TOKENS, "model")


async def test_tokenize_counts_tokens(client: httpx.AsyncClient) -> None:
    ids = train_tokenizer().encode(PROMPT)
    reply = await client.post("/tokenize", json={"prompt": PROMPT})
    assert reply.json() == {"count": len(ids), "max_model_len": CONTEXT_TOKENS, "tokens": ids, "token_strs": None}
    bare = await client.post(
        "/tokenize", json={"prompt": PROMPT, "add_special_tokens": False, "return_token_strs": True}
    )
    assert bare.json()["tokens"] == ids[1:]
    assert "".join(bare.json()["token_strs"]) == PROMPT


async def test_the_server_answers_health_checks(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ping")).status_code == 200
    assert (await client.get("/version")).json() == {"version": "0.1.0"}
