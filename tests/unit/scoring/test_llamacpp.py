"""Requests to `llama-server` and the parsing of its replies, which have the shape of its README and source."""

from collections.abc import Sequence
from typing import Any

import pytest

from service.errors import BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.scoring.wires.llamacpp import LlamaCppWire, read_completion, read_facts
from service.scoring.wires.wire import NextToken, Prompt, Token
from tests.unit.scoring.loopback import Loopback

COMPLETION = "/completion"
PROMPT = Prompt("never sent", (5, 6, 7))
MODELS = {"object": "list", "data": [{"id": "small.gguf", "meta": {"n_vocab": 3000, "n_ctx_train": 4096}}]}
LOWEST = -3.4028234663852886e38


def completion(by_id: dict[int, float], *, prompt_tokens: int = 3, cached: int | None = 2) -> dict[str, Any]:
    """The first token is the generated one."""
    tokens = [
        {"id": token, "token": f"t{token}", "bytes": list(f"t{token}".encode()), "logprob": value}
        for token, value in by_id.items()
    ]
    timings: dict[str, Any] = {"prompt_n": prompt_tokens - (cached or 0), "prompt_ms": 1.0, "predicted_n": 1}
    return {
        "index": 0,
        "content": "t",
        "tokens": [],
        "stop": True,
        "tokens_predicted": 1,
        "tokens_evaluated": prompt_tokens,
        "truncated": False,
        "stop_type": "limit",
        "tokens_cached": prompt_tokens,
        "timings": timings if cached is None else {"cache_n": cached, **timings},
        "completion_probabilities": [{**tokens[0], "logprob": 0.0, "top_logprobs": tokens}] if tokens else [],
    }


def wire_at(url: str, **settings: Any) -> LlamaCppWire:
    return LlamaCppWire(url, timeout_seconds=10.0, connections=4, **settings)


async def asking(
    loopback: Loopback, replies: Sequence[Any], wanted: Sequence[int], prompt: Prompt = PROMPT, models: Any = MODELS
) -> tuple[NextToken, list[Any]]:
    """The answer, and the bodies it took."""
    loopback.plan({COMPLETION: replies, "/v1/models": [models]})
    wire = wire_at(loopback.url)
    try:
        return await wire.next_token(prompt, wanted), loopback.bodies(COMPLETION)
    finally:
        await wire.close()


async def test_one_call_requests_the_likeliest_tokens(loopback: Loopback) -> None:
    answer, bodies = await asking(loopback, [completion({107: -0.8, 267: -1.7, 263: -2.4})], [263, 267])
    assert bodies == [
        {
            "prompt": [5, 6, 7],
            "n_predict": 1,
            "n_probs": 200,
            "temperature": 0,
            "samplers": ["temperature"],
            "post_sampling_probs": False,
            "cache_prompt": True,
        }
    ]
    assert answer == NextToken({107: -0.8, 267: -1.7, 263: -2.4}, tokens_sent=3, tokens_computed=1)


async def test_a_prompt_without_ids_travels_as_text(loopback: Loopback) -> None:
    answer, bodies = await asking(loopback, [completion({107: -0.8}, prompt_tokens=9)], [107], Prompt("Paris is"))
    assert bodies[0]["prompt"] == "Paris is"
    assert answer.tokens_sent == 9


async def test_a_token_that_is_not_among_the_likeliest_is_looked_for_further_down(loopback: Loopback) -> None:
    replies = [completion({107: -0.8}), completion({107: -0.8}), completion({107: -0.8, 263: -15.0})]
    answer, bodies = await asking(loopback, replies, [263])
    assert [body["n_probs"] for body in bodies] == [200, 2000, 3000]
    assert answer.by_id[263] == -15.0
    assert (answer.requests, answer.tokens_sent, answer.tokens_computed) == (3, 9, 3)


async def test_a_missing_label_is_never_a_number(loopback: Loopback) -> None:
    with pytest.raises(LabelUnreachable, match="263: the server left it out"):
        await asking(loopback, [completion({107: -0.8})], [263])


async def test_a_server_that_does_not_report_its_vocabulary_gets_one_call(loopback: Loopback) -> None:
    with pytest.raises(LabelUnreachable, match="263"):
        await asking(loopback, [completion({107: -0.8})], [263], models={"data": [{"id": "small.gguf", "meta": None}]})


async def test_the_logarithm_of_zero_is_no_number(loopback: Loopback) -> None:
    with pytest.raises(LabelUnreachable, match="263: the language model considers it impossible"):
        await asking(loopback, [completion({107: -0.8, 263: LOWEST})], [263])


async def test_behind_a_part_of_a_character_a_wanted_token_is_generated_instead(loopback: Loopback) -> None:
    withheld = completion({})
    del withheld["completion_probabilities"]
    answer, bodies = await asking(loopback, [withheld, completion({263: -4.0, 107: -0.8})], [263])
    assert [body.get("logit_bias") for body in bodies] == [None, [[263, 10000.0]]]
    assert answer.by_id == {263: -4.0, 107: -0.8}
    assert answer.requests == 2


def test_probabilities_behind_a_character_in_parts_are_not_those_behind_the_prompt() -> None:
    assert read_completion({**completion({263: -1.0}), "tokens_predicted": 2}).by_id == {}


async def test_a_server_that_gives_no_probabilities_is_malformed(loopback: Loopback) -> None:
    with pytest.raises(BackendUnavailable, match="no log-probability at all") as caught:
        await asking(loopback, [completion({})], ())
    assert caught.value.kind is FailureKind.MALFORMED


async def test_a_call_that_was_cancelled_may_succeed_another_time(loopback: Loopback) -> None:
    with pytest.raises(BackendUnavailable, match="without a token") as caught:
        await asking(loopback, [{**completion({}), "tokens_predicted": 0, "stop_type": "none"}], [263])
    assert caught.value.kind is FailureKind.SERVER


async def test_a_prompt_that_was_cut_is_refused(loopback: Loopback) -> None:
    with pytest.raises(BackendRefused, match="--ctx-size"):
        await asking(loopback, [{**completion({263: -1.0}), "truncated": True}], [263])
    with pytest.raises(BackendRefused, match="given 3 tokens and read 2"):
        await asking(loopback, [completion({263: -1.0}, prompt_tokens=2)], [263])


async def test_a_prompt_that_is_too_long_is_refused_with_the_servers_words(loopback: Loopback) -> None:
    message = "request (9 tokens) exceeds the available context size (8 tokens), try increasing it"
    error = {"code": 400, "type": "exceed_context_size_error", "message": message, "n_prompt_tokens": 9, "n_ctx": 8}
    with pytest.raises(BackendRefused, match="available context size"):
        await asking(loopback, [(400, {"error": error})], [263])


async def test_a_server_that_loads_its_model_may_succeed_another_time(loopback: Loopback) -> None:
    loading = {"error": {"code": 503, "type": "unavailable_error", "message": "Loading model"}}
    with pytest.raises(BackendUnavailable, match="Loading model") as caught:
        await asking(loopback, [(503, loading)], [263])
    assert caught.value.kind is FailureKind.SERVER


def without(key: str) -> dict[str, Any]:
    reply = completion({263: -1.0})
    del reply[key]
    return reply


def named(**changes: Any) -> dict[str, Any]:
    reply = completion({263: -1.0})
    reply["completion_probabilities"][0] |= changes
    return reply


@pytest.mark.parametrize(
    "reply",
    [
        {},
        [],
        without("tokens_evaluated"),
        named(top_logprobs=None),
        named(top_logprobs=[{"id": 263, "logprob": "-1.0"}]),
        named(top_logprobs=[{"id": None, "logprob": -1.0}]),
    ],
    ids=["empty", "list", "no count", "no alternatives", "value of text", "no id"],
)
async def test_a_reply_of_another_form_is_malformed(loopback: Loopback, reply: Any) -> None:
    with pytest.raises(BackendUnavailable, match=COMPLETION) as caught:
        await asking(loopback, [reply], [263])
    assert caught.value.kind is FailureKind.MALFORMED


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no log-probability"):
        read_completion(completion({263: float("nan")}))


def test_without_cached_tokens_all_tokens_of_the_prompt_count_as_computed() -> None:
    assert read_completion(completion({263: -1.0}, cached=None)).tokens_computed == 3
    assert read_completion(without("timings")).tokens_computed is None


def test_probabilities_are_read_under_either_name() -> None:
    reply = completion({263: -1.0})
    reply["probs"] = reply.pop("completion_probabilities")
    assert read_completion(reply).by_id == {263: -1.0}


PROPS = {
    "default_generation_settings": {"n_ctx": 4096, "params": {}},
    "total_slots": 4,
    "model_path": "models/small.gguf",
    "build_info": "b7000-abcdef",
    "chat_template": "",
}


async def test_facts_are_those_of_one_slot(loopback: Loopback) -> None:
    loopback.plan({"/props": [PROPS], "/v1/models": [MODELS]})
    wire = wire_at(loopback.url, api_key="secret")
    facts = await wire.facts()
    await wire.close()
    assert (facts.model, facts.server_version) == ("models/small.gguf", "b7000-abcdef")
    assert (facts.context_tokens, facts.max_concurrent_requests) == (4094, 4)
    assert loopback.keys == {"Bearer secret"}


def test_a_server_that_keeps_its_models_path_private_has_the_name_it_serves_it_under() -> None:
    assert read_facts({**PROPS, "model_path": ""}, {"id": "small"}).model == "small"


async def test_the_tokens_of_a_short_text_have_places(loopback: Loopback) -> None:
    pieces = {"tokens": [{"id": 1, "piece": "<s>"}, {"id": 4, "piece": " é"[:1]}, {"id": 5, "piece": [195]}]}
    pieces["tokens"].append({"id": 6, "piece": [169]})
    loopback.plan({"/tokenize": [pieces, {"tokens": [4, 5]}]})
    wire = wire_at(loopback.url)
    assert await wire.encode("é", special=True) == [Token(1, 0), Token(4, 0), Token(5, 0), Token(6, 1)]
    assert await wire.encode("x" * 1000) == [Token(4), Token(5)]
    await wire.close()
    assert loopback.bodies("/tokenize") == [
        {"content": "é", "add_special": True, "parse_special": False, "with_pieces": True},
        {"content": "x" * 1000, "add_special": False, "parse_special": False, "with_pieces": False},
    ]
