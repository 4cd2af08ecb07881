"""Requests to a vLLM server and the parsing of its replies, which have the shape of vLLM 0.32's."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from service.errors import BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.scoring.wires.vllm import VllmWire, read_completion, read_facts
from service.scoring.wires.wire import Prompt, Token
from tests.support.inference.tiny import CONTEXT_TOKENS, train_tokenizer
from tests.unit.scoring.loopback import Loopback

COMPLETIONS = "/v1/completions"
PROMPT = Prompt("never sent", (5, 6, 7))


def completion(by_id: dict[int, float], *, prompt_tokens: int = 3, cached: int | None = 1) -> dict[str, Any]:
    """The first token is the generated one."""
    best, value = next(iter(by_id.items()))
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "text": " t",
                "logprobs": {
                    "text_offset": [0],
                    "token_logprobs": [value],
                    "tokens": [f"token_id:{best}"],
                    "top_logprobs": [{f"token_id:{token}": each for token, each in by_id.items()}],
                },
                "finish_reason": "length",
                "stop_reason": None,
                "prompt_logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + 1,
            "completion_tokens": 1,
            "prompt_tokens_details": None if cached is None else {"cached_tokens": cached},
        },
        "kv_transfer_params": None,
    }


CAP_EXCEEDED = (
    400,
    {
        "error": {
            "message": "Requested sample logprobs of 20, which is greater than max allowed: 5",
            "type": "BadRequestError",
            "param": "logprobs",
            "code": 400,
        }
    },
)


def wire_at(url: str, **settings: Any) -> VllmWire:
    return VllmWire(url, timeout_seconds=10.0, connections=4, **settings)


async def asking(
    loopback: Loopback, replies: Sequence[Any], wanted: Sequence[int], **settings: Any
) -> tuple[Any, list[Any]]:
    """The answer, and the bodies it took."""
    loopback.plan({COMPLETIONS: replies})
    wire = wire_at(loopback.url, **settings)
    try:
        return await wire.next_token(PROMPT, wanted), loopback.bodies(COMPLETIONS)
    finally:
        await wire.close()


async def test_one_call_requests_the_wanted_tokens_by_id(loopback: Loopback) -> None:
    answer, bodies = await asking(loopback, [completion({107: -0.8, 267: -1.7, 263: -2.4})], [267, 263], model="m")
    assert bodies == [
        {
            "model": "m",
            "prompt": [5, 6, 7],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 20,
            "logprob_token_ids": [267, 263],
            "return_tokens_as_token_ids": True,
        }
    ]
    assert answer.by_id == {107: -0.8, 267: -1.7, 263: -2.4}
    assert (answer.tokens_sent, answer.tokens_computed, answer.relative) == (3, 2, False)


async def test_a_prompt_without_ids_travels_as_text(loopback: Loopback) -> None:
    loopback.plan({COMPLETIONS: [completion({107: -0.8}, prompt_tokens=9)]})
    wire = wire_at(loopback.url)
    answer = await wire.next_token(Prompt("Paris is"), [107])
    await wire.close()
    assert loopback.bodies(COMPLETIONS)[0]["prompt"] == "Paris is"
    assert answer.tokens_sent == 9


async def test_without_wanted_tokens_the_likeliest_token_is_returned(loopback: Loopback) -> None:
    answer, bodies = await asking(loopback, [completion({107: -0.8})], ())
    assert "logprob_token_ids" not in bodies[0]
    assert answer.by_id == {107: -0.8}


async def test_more_tokens_than_one_call_names_take_several(loopback: Loopback) -> None:
    halves = [dict.fromkeys(range(128), -9.0), dict.fromkeys(range(128, 130), -9.0)]
    answer, bodies = await asking(loopback, [completion(half) for half in halves], range(130))
    assert [len(body["logprob_token_ids"]) for body in bodies] == [128, 2]
    assert set(answer.by_id) == set(range(130))
    assert (answer.tokens_sent, answer.tokens_computed) == (6, 4)


async def test_an_old_server_that_ignores_the_ids_returns_its_likeliest_tokens(loopback: Loopback) -> None:
    answer, bodies = await asking(loopback, [completion({1: -1.0, 267: -1.5, 263: -2.0, 9: -3.0})], [263, 267])
    assert len(bodies) == 1
    assert (answer.by_id[263], answer.by_id[267]) == (-2.0, -1.5)


async def test_a_token_that_an_old_server_leaves_out_is_made_the_only_one_allowed(loopback: Loopback) -> None:
    replies = [completion({1: -1.0, 267: -1.5}), completion({263: -12.0}), completion({264: -13.0})]
    answer, bodies = await asking(loopback, replies, [263, 267, 264])
    assert [body.get("allowed_token_ids") for body in bodies] == [None, [263], [264]]
    assert (answer.by_id[263], answer.by_id[264]) == (-12.0, -13.0)
    assert answer.tokens_sent == 9


async def test_a_lower_cap_on_alternatives_is_read_from_the_refusal_and_remembered(loopback: Loopback) -> None:
    loopback.plan({COMPLETIONS: [CAP_EXCEEDED, CAP_EXCEEDED, completion({1: -1.0, 267: -1.5})]})
    wire = wire_at(loopback.url)
    at_once = await asyncio.gather(*(wire.next_token(PROMPT, [267]) for _ in range(2)))
    assert [answer.by_id[267] for answer in [*at_once, await wire.next_token(PROMPT, [267])]] == [-1.5] * 3
    await wire.close()
    assert [body["logprobs"] for body in loopback.bodies(COMPLETIONS)] == [20, 20, 5, 5, 5]


async def test_a_missing_label_is_never_a_number(loopback: Loopback) -> None:
    with pytest.raises(LabelUnreachable, match="263: the server left it out"):
        await asking(loopback, [completion({1: -1.0})], [263])


async def test_the_servers_sign_for_minus_infinity_is_no_number(loopback: Loopback) -> None:
    with pytest.raises(LabelUnreachable, match="263: the language model considers it impossible"):
        await asking(loopback, [completion({1: -1.0, 263: -9999.0})], [263])


async def test_values_that_are_no_probabilities_of_the_whole_vocabulary_are_refused(loopback: Loopback) -> None:
    with pytest.raises(BackendRefused, match="sum to over 1"):
        await asking(loopback, [completion({1: -0.1, 263: 0.0})], [263])


async def test_a_prompt_that_was_cut_is_refused(loopback: Loopback) -> None:
    with pytest.raises(BackendRefused, match="given 3 tokens and read 2"):
        await asking(loopback, [completion({263: -1.0}, prompt_tokens=2)], [263])


async def test_a_refusal_for_another_reason_is_passed_on(loopback: Loopback) -> None:
    too_long = (400, {"error": {"message": "This model's maximum context length is 2 tokens.", "code": 400}})
    with pytest.raises(BackendRefused, match="maximum context length"):
        await asking(loopback, [too_long], [263])


@pytest.mark.parametrize("reason", ["abort", "error"])
async def test_an_aborted_completion_may_succeed_another_time(loopback: Loopback, reason: str) -> None:
    reply = completion({263: -1.0})
    reply["choices"][0] |= {"finish_reason": reason, "logprobs": None}
    with pytest.raises(BackendUnavailable, match=reason) as caught:
        await asking(loopback, [reply], [263])
    assert caught.value.kind is FailureKind.SERVER


def broken(**changes: Any) -> dict[str, Any]:
    reply = completion({263: -1.0})
    reply["choices"][0]["logprobs"] |= changes
    return reply


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"choices": []},
        {**completion({263: -1.0}), "usage": None},
        {**completion({263: -1.0}), "usage": {"prompt_tokens": "3"}},
        {**completion({263: -1.0}), "usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}},
        broken(token_logprobs=[]),
        broken(token_logprobs=["-1.0"]),
        broken(tokens=["token_id:x"]),
        broken(top_logprobs=[]),
    ],
    ids=[
        "empty",
        "no choice",
        "no usage",
        "usage of text",
        "more cached than sent",
        "no values",
        "value of text",
        "no id",
        "no alternatives",
    ],
)
async def test_a_reply_of_another_form_is_malformed(loopback: Loopback, reply: Any) -> None:
    with pytest.raises(BackendUnavailable, match=COMPLETIONS) as caught:
        await asking(loopback, [reply], [263])
    assert caught.value.kind is FailureKind.MALFORMED


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no log-probability"):
        read_completion(completion({263: value}))


def test_tokens_named_by_their_text_are_refused() -> None:
    with pytest.raises(BackendRefused, match="return_tokens_as_token_ids"):
        read_completion(broken(tokens=[" True"]))


async def test_missing_cached_tokens_count_as_none_once_the_server_has_reported_some(loopback: Loopback) -> None:
    replies = [completion({263: -1.0}, cached=each) for each in (None, 2, None)]
    loopback.plan({COMPLETIONS: replies})
    wire = wire_at(loopback.url)
    computed = [(await wire.next_token(PROMPT, [263])).tokens_computed for _ in range(3)]
    await wire.close()
    assert computed == [None, 1, 3]


MODELS: list[dict[str, Any]] = [
    {"id": "small", "root": "org/small-1B", "parent": None, "max_model_len": 4096, "owned_by": "vllm"},
    {"id": "adapter", "root": "org/adapter", "parent": "small", "max_model_len": None, "owned_by": "vllm"},
]


def test_facts_are_those_of_the_first_model_or_the_chosen_one_with_the_context_of_its_base() -> None:
    first, chosen = read_facts(MODELS, "0.32.0", None), read_facts(MODELS, "0.32.0", "adapter")
    assert (first.model, first.revision, first.server_version) == ("small", "org/small-1B", "0.32.0")
    assert (first.context_tokens, first.problems) == (4095, ())
    assert (chosen.model, chosen.revision, chosen.context_tokens) == ("adapter", "org/adapter", 4095)


def test_a_model_that_is_not_served_is_a_problem_that_names_those_that_are() -> None:
    (problem,) = read_facts(MODELS, None, "large").problems
    assert problem == "the server has no model 'large'; set the backend's model to one of: small, adapter"


async def test_a_list_without_models_is_malformed(loopback: Loopback) -> None:
    loopback.plan({"/v1/models": [{"object": "list", "data": []}]})
    wire = wire_at(loopback.url)
    with pytest.raises(BackendUnavailable, match="/v1/models") as caught:
        await wire.facts()
    await wire.close()
    assert caught.value.kind is FailureKind.MALFORMED


async def test_a_gateway_without_a_version_still_lists_its_models(loopback: Loopback) -> None:
    loopback.plan({"/v1/models": [{"object": "list", "data": MODELS}]})
    wire = wire_at(loopback.url, api_key="secret")
    facts = await wire.facts()
    await wire.close()
    assert (facts.model, facts.server_version) == ("small", None)
    assert loopback.keys == {"Bearer secret"}


async def test_a_text_is_encoded_with_special_tokens_or_without(loopback: Loopback) -> None:
    reply = {"count": 3, "max_model_len": 8, "tokens": [1, 4, 5], "token_strs": ["<s>", "Paris", "Ġis"]}
    loopback.plan({"/tokenize": [reply, {**reply, "token_strs": None}]})
    wire = wire_at(loopback.url)
    assert await wire.encode("Paris is", special=True) == [Token(1, 0), Token(4, 5), Token(5, 8)]
    assert await wire.encode("x" * 1000) == [Token(1), Token(4), Token(5)]
    assert await wire.encode("") == []
    await wire.close()
    assert loopback.bodies("/tokenize") == [
        {"prompt": "Paris is", "add_special_tokens": True, "return_token_strs": True},
        {"prompt": "x" * 1000, "add_special_tokens": False, "return_token_strs": False},
    ]


async def test_the_embedded_server_gives_the_scores_that_its_other_wire_gives(embedded_url: str) -> None:
    text, tokenizer = "The city of Paris is in France.", train_tokenizer()
    ids = tuple(tokenizer.encode(text))
    (label,) = tokenizer.encode(" True", add_special_tokens=False)
    parameters = {"max_new_tokens": 1, "details": True, "top_n_tokens": 400}
    async with httpx.AsyncClient(base_url=embedded_url) as client:
        reply = await client.post("/generate", json={"inputs": text, "parameters": parameters})
    expected = {token["id"]: token["logprob"] for token in reply.json()["details"]["top_tokens"][0]}
    wire = wire_at(embedded_url, model="tiny")
    first = await wire.next_token(Prompt(text, ids), [label])
    again = await wire.next_token(Prompt(text, ids), [label])
    as_text = await wire.next_token(Prompt(text), [label])
    await wire.close()
    for answer in (first, again, as_text):
        assert answer.by_id == pytest.approx({token: expected[token] for token in answer.by_id}, abs=1e-5)
    assert (again.tokens_sent, again.tokens_computed) == (len(ids), 1)


async def test_the_embedded_server_lists_what_it_serves(embedded_url: str) -> None:
    wire = wire_at(embedded_url)
    facts, tokens = await wire.facts(), await wire.encode("Paris is", special=True)
    await wire.close()
    assert (facts.model, facts.server_version, facts.context_tokens) == ("tiny", "0.1.0", CONTEXT_TOKENS - 1)
    assert [token.id for token in tokens] == train_tokenizer().encode("Paris is")
    assert tokens[-1].end == len("Paris is")
