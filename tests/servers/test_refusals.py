"""Refusals, limits and behaviour specific to one kind of server."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.servers.asking import ask, body_of, client_of, path_of
from tests.servers.fake import FakeServer
from tests.servers.llamacpp import FakeLlamaCpp
from tests.servers.sglang import FakeSglang
from tests.servers.tgi import FakeTgi
from tests.servers.vllm import FakeVllm

TEXT = "Paris is in France. True\n\nOslo is in Spain."


async def posted(server: FakeServer, path: str, body: Any) -> httpx.Response:
    async with client_of(server) as client:
        return await client.post(path, json=body)


async def scored(server: FakeServer, **changes: Any) -> httpx.Response:
    body = body_of(server, TEXT, server.model.tokenizer.ids(" True False"))
    parameters = changes.pop("parameters", None)
    if parameters is not None:
        body["parameters"] |= parameters
    return await posted(server, path_of(server.kind), body | changes)


async def statuses_of(server: FakeServer, calls: int) -> list[int]:
    async with client_of(server) as client:
        body = body_of(server, TEXT, server.model.tokenizer.ids(" True False"))
        replies = await asyncio.gather(*(client.post(path_of(server.kind), json=body) for _ in range(calls)))
    return sorted(reply.status_code for reply in replies)


async def test_tgi_refuses_calls_over_its_limit_at_once() -> None:
    server = FakeTgi(max_concurrent_requests=2, latency_seconds=0.05)
    assert await statuses_of(server, 5) == [200, 200, 429, 429, 429]


async def test_vllm_queues_without_limit_unless_it_is_set() -> None:
    server = FakeVllm(max_num_seqs=2, latency_seconds=0.01)
    assert await statuses_of(server, 5) == [200] * 5
    assert await statuses_of(FakeVllm(max_num_queued_reqs=2, latency_seconds=0.05), 5) == [200, 200, 503, 503, 503]


async def test_sglang_queues_and_then_refuses() -> None:
    server = FakeSglang(max_running_requests=1, max_queued_requests=1, latency_seconds=0.05)
    assert await statuses_of(server, 5) == [200, 200, 503, 503, 503]


async def test_llamacpp_queues_calls_until_a_slot_is_free() -> None:
    server = FakeLlamaCpp(slots=2, latency_seconds=0.01)
    assert await statuses_of(server, 6) == [200] * 6
    assert server.load.most == 6


TGI_REFUSALS: Mapping[str, tuple[dict[str, Any], str]] = {
    "too many alternatives": ({"parameters": {"top_n_tokens": 20}}, "`top_n_tokens` must be >= 0 and <= 5. Given: 20"),
    "nothing to generate": ({"parameters": {"max_new_tokens": 0}}, "`max_new_tokens` must be strictly positive"),
    "no prompt": ({"inputs": ""}, "`inputs` cannot be empty"),
    "tokens for text": ({"inputs": [1, 2, 3]}, "Failed to deserialize the JSON body"),
}


@pytest.mark.parametrize("case", TGI_REFUSALS)
async def test_tgi_refuses(case: str) -> None:
    changes, words = TGI_REFUSALS[case]
    reply = await scored(FakeTgi(), **changes)
    assert (reply.status_code, words in reply.text) == (422, True)


async def test_tgi_shifts_values_behind_a_grammar_by_a_common_amount() -> None:
    server = FakeTgi()
    tokenizer = server.model.tokenizer
    grammar = {"type": "regex", "value": "( True| False)"}
    reply = await scored(server, parameters={"grammar": grammar, "top_n_tokens": 5})
    shifted = {token["id"]: token["logprob"] for token in reply.json()["details"]["top_tokens"][0]}
    raw = server.model.log_probabilities(tokenizer.ids(TEXT, special=True))
    true, false = (tokenizer.id_of(text) for text in (" True", " False"))
    assert shifted[true] - shifted[false] == pytest.approx(raw[true] - raw[false])
    assert tokenizer.id_of(" T") in shifted
    assert set(shifted) <= {tokenizer.id_of(text) for text in (" ", " T", " F", " True", " False")}


async def test_tgi_counts_where_tokens_end_in_bytes() -> None:
    text = "é is"
    for in_bytes, expected in ((True, 5), (False, 4)):
        reply = await posted(FakeTgi(offsets_in_bytes=in_bytes), "/tokenize", {"inputs": text})
        assert reply.json()[-1]["stop"] == expected
        assert reply.json()[0]["stop"] == 0


async def test_tgi_reads_no_cache_for_prompt_details() -> None:
    server = FakeTgi()
    length = len(server.model.tokenizer.ids(TEXT, special=True))
    for _ in range(2):
        reply = await scored(server, parameters={"decoder_input_details": True})
        assert reply.json()["details"]["prefill"] == []
    assert server.tokens_computed == 2 * length


VLLM_REFUSALS: Mapping[str, tuple[dict[str, Any], int, str]] = {
    "another model": ({"model": "other"}, 404, "The model `other` does not exist."),
    "too many chosen tokens": ({"logprob_token_ids": list(range(129))}, 400, "greater than max allowed: 128"),
    "a token of no vocabulary": ({"logprob_token_ids": [10**6]}, 400, "out-of-vocab token ids"),
    "too many alternatives": ({"logprob_token_ids": None, "logprobs": 21}, 400, "greater than max allowed: 20"),
    "chosen tokens without logprobs": ({"logprobs": None}, 400, "`logprobs` must be set"),
    "a prompt of no vocabulary": ({"prompt": [10**6]}, 400, "out of vocabulary"),
    "a very long text": ({"prompt": "x" * 40_000}, 400, "characters (more than"),
    "no prompt": ({"prompt": []}, 400, "non-empty"),
}


@pytest.mark.parametrize("case", VLLM_REFUSALS)
async def test_vllm_refuses(case: str) -> None:
    changes, status, words = VLLM_REFUSALS[case]
    reply = await scored(FakeVllm(), **changes)
    assert (reply.status_code, words in reply.text) == (status, True)
    assert reply.json()["error"]["code"] == status


async def test_an_older_vllm_ignores_chosen_tokens_silently() -> None:
    server = FakeVllm(names_chosen_tokens=False)
    content = (await scored(server)).json()
    assert len(content["choices"][0]["logprobs"]["top_logprobs"][0]) == 1
    wide = (await scored(server, logprobs=20)).json()
    assert len(wide["choices"][0]["logprobs"]["top_logprobs"][0]) == 20


async def test_an_older_vllm_merges_keys_of_different_tokens() -> None:
    server = FakeVllm(runs_together=True)
    wanted = [server.model.tokenizer.id_of(text) for text in (" true", "true")]
    content = (await scored(server, logprob_token_ids=wanted, return_tokens_as_token_ids=False)).json()
    assert len(content["choices"][0]["logprobs"]["top_logprobs"][0]) == 2  # the sampled one, and one of two


async def test_a_forced_token_of_vllm_has_its_raw_value() -> None:
    server = FakeVllm()
    false = server.model.tokenizer.id_of(" False")
    content = (await scored(server, logprob_token_ids=None, allowed_token_ids=[false], logprobs=1)).json()
    expected = server.model.log_probabilities(server.model.tokenizer.ids(TEXT, special=True))[false]
    assert content["choices"][0]["logprobs"]["token_logprobs"] == [pytest.approx(expected)]


async def test_vllm_without_its_flag_reports_no_cached_tokens() -> None:
    content = (await scored(FakeVllm(tells_cached_tokens=False))).json()
    assert content["usage"]["prompt_tokens_details"] is None


async def test_a_list_of_prompts_reports_the_cached_tokens_of_the_last_alone() -> None:
    server = FakeVllm()
    ids = server.model.tokenizer.ids(TEXT * 4, special=True)
    content = (await scored(server, prompt=[ids, ids, ids])).json()
    assert len(content["choices"]) == 3
    assert content["usage"]["prompt_tokens"] == 3 * len(ids)
    assert content["usage"]["prompt_tokens_details"]["cached_tokens"] == (len(ids) - 1) // 16 * 16


SGLANG_REFUSALS: Mapping[str, tuple[dict[str, Any], str]] = {
    "a token of no vocabulary": ({"token_ids_logprob": [10**6]}, "out-of-vocabulary token id 1000000"),
    "nested tokens": ({"token_ids_logprob": [[1], [2]]}, "must be a flat list of integers"),
    "two prompts in one": ({"text": "is"}, "Either text, input_ids or input_embeds"),
    "a prompt of no vocabulary": ({"input_ids": [10**6]}, "greater than the vocab size"),
}


@pytest.mark.parametrize("case", SGLANG_REFUSALS)
async def test_sglang_refuses(case: str) -> None:
    changes, words = SGLANG_REFUSALS[case]
    reply = await scored(FakeSglang(), **changes)
    assert (reply.status_code, words in reply.json()["error"]["message"]) == (400, True)


async def test_sglang_with_truncation_cuts_a_prompt_silently() -> None:
    server = FakeSglang(cuts_prompts=True, context_len=10)
    reply = await scored(server)
    assert reply.json()["meta_info"]["prompt_tokens"] == 10


async def test_a_start_for_prompt_values_keeps_sglang_from_its_cache() -> None:
    server = FakeSglang()
    async with client_of(server) as client:
        await ask(client, server, TEXT, [5])
        for start, cached in ((0, 0), (3, 3)):
            body = body_of(server, TEXT, [5]) | {"logprob_start_len": start}
            reply = await client.post("/generate", json=body)
            assert reply.json()["meta_info"]["cached_tokens"] == cached


async def test_sglang_scores_items_behind_a_query() -> None:
    server = FakeSglang()
    ids = server.model.tokenizer.ids(TEXT, special=True)
    labels = server.model.tokenizer.ids(" True False")
    body = {"query": ids[:-4], "items": [ids[-4:], ids[-3:]], "label_token_ids": labels, "return_token_logprobs": True}
    content = (await posted(server, "/v1/score", body)).json()
    expected = server.model.log_probabilities(ids)
    assert content["token_logprobs"][0] == pytest.approx([expected[label] for label in labels])
    assert content["usage"]["prompt_tokens"] == len(ids) + len(ids) - 1
    older = (await posted(FakeSglang(scores_with_logprobs=False), "/v1/score", body)).json()
    assert "token_logprobs" not in older


async def test_sglang_takes_several_prompts_in_one_call() -> None:
    server = FakeSglang()
    ids = server.model.tokenizer.ids(TEXT, special=True)
    content = (await scored(server, input_ids=[ids, ids[:-1]], token_ids_logprob=[[5], [6, 7]])).json()
    assert [len(answer["meta_info"]["output_token_ids_logprobs"][0]) for answer in content] == [1, 2]


LLAMACPP_REFUSALS: Mapping[str, tuple[dict[str, Any], str]] = {
    "a prompt of no vocabulary": ({"prompt": [10**6]}, "invalid_request_error"),
    "no prompt": ({"prompt": None}, "invalid_request_error"),
}


@pytest.mark.parametrize("case", LLAMACPP_REFUSALS)
async def test_llamacpp_refuses(case: str) -> None:
    changes, error_type = LLAMACPP_REFUSALS[case]
    reply = await scored(FakeLlamaCpp(), **changes)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, error_type)


async def test_llamacpp_reports_how_long_a_prompt_may_be() -> None:
    reply = await scored(FakeLlamaCpp(slot_context_tokens=9))
    error = reply.json()["error"]
    length = len(FakeLlamaCpp().model.tokenizer.ids(TEXT, special=True))
    assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == ("exceed_context_size_error", length, 9)


async def test_llamacpp_that_loads_its_model_is_unavailable() -> None:
    server = FakeLlamaCpp()
    server.is_loading = True
    reply = await scored(server)
    assert (reply.status_code, reply.json()["error"]["message"]) == (503, "Loading model")


async def test_llamacpp_reports_the_content_of_a_slot_rather_than_its_cache_hits() -> None:
    server = FakeLlamaCpp()
    content = (await scored(server)).json()
    length = content["tokens_evaluated"]
    assert (content["tokens_cached"], content["timings"]["cache_n"], content["timings"]["prompt_n"]) == (
        length,
        0,
        length,
    )


async def test_llamacpp_returns_bytes_if_a_token_is_no_text() -> None:
    reply = await posted(FakeLlamaCpp(), "/tokenize", {"content": "é is", "with_pieces": True})
    assert [token["piece"] for token in reply.json()["tokens"]] == [[0xC3], [0xA9], " is"]


async def test_llamacpp_after_sampling_returns_few_probabilities() -> None:
    content = (await scored(FakeLlamaCpp(), post_sampling_probs=True)).json()
    step = content["completion_probabilities"][0]
    assert "logprob" not in step
    assert 0 < len(step["top_probs"]) <= 40
