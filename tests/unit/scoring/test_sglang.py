"""Requests to an SGLang server and the parsing of its replies, which have the shape of SGLang 0.5.23's."""

from collections.abc import Sequence
from typing import Any

import pytest

from service.errors import BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.scoring.wires.sglang import SglangWire, read_facts, read_generated
from service.scoring.wires.wire import ManyWire, NextToken, Prompt, Token
from tests.unit.scoring.loopback import Loopback

GENERATE = "/generate"
PROMPT = Prompt("never sent", (5, 6, 7))
WHOLE = {"type": "length", "length": 1}


def generated(
    best: tuple[float, int], chosen: dict[int, float | None], *, prompt_tokens: int = 3, cached: int | None = 2
) -> dict[str, Any]:
    meta = {
        "id": "1",
        "finish_reason": WHOLE,
        "prompt_tokens": prompt_tokens,
        "weight_version": "default",
        "input_token_logprobs": [],
        "output_token_logprobs": [[*best, None]],
        "output_token_logprobs_length": 1,
        "input_token_ids_logprobs": [],
        "output_token_ids_logprobs": [[[value, token, None] for token, value in chosen.items()]],
        "completion_tokens": 1,
        "cached_tokens": cached,
    }
    return {"text": " t", "output_ids": [best[1]], "meta_info": meta}


def aborted(message: str, **more: Any) -> dict[str, Any]:
    return {"text": "", "meta_info": {"id": "1", "finish_reason": {"type": "abort", "message": message, **more}}}


def wire_at(url: str, **settings: Any) -> SglangWire:
    return SglangWire(url, timeout_seconds=10.0, connections=4, **settings)


async def asking(
    loopback: Loopback, replies: Sequence[Any], wanted: Sequence[int], prompt: Prompt = PROMPT
) -> tuple[NextToken, list[Any]]:
    """The answer, and the bodies it took."""
    loopback.plan({GENERATE: replies})
    wire = wire_at(loopback.url)
    try:
        return await wire.next_token(prompt, wanted), loopback.bodies(GENERATE)
    finally:
        await wire.close()


async def asking_many(
    loopback: Loopback, replies: dict[str, Sequence[Any]], wanted: Sequence[int], *, times: int = 1
) -> tuple[list[NextToken], list[tuple[str, Any]]]:
    loopback.plan(replies)
    wire = wire_at(loopback.url)
    try:
        for _ in range(times):
            answers = await wire.next_tokens((5, 6), [(7,), (8, 9)], wanted)
    finally:
        await wire.close()
    return answers, loopback.asked


async def test_one_call_requests_the_wanted_tokens_by_id(loopback: Loopback) -> None:
    answer, bodies = await asking(loopback, [generated((-0.8, 107), {267: -1.7, 263: -2.4})], [267, 263])
    assert bodies == [
        {
            "input_ids": [5, 6, 7],
            "sampling_params": {"max_new_tokens": 1, "temperature": 0},
            "return_logprob": True,
            "logprob_start_len": -1,
            "token_ids_logprob": [267, 263],
        }
    ]
    assert answer == NextToken({107: -0.8, 267: -1.7, 263: -2.4}, tokens_sent=3, tokens_computed=1)


async def test_a_prompt_without_ids_travels_as_text(loopback: Loopback) -> None:
    answer, bodies = await asking(loopback, [generated((-0.8, 107), {}, prompt_tokens=9)], [107], Prompt("Paris is"))
    assert (bodies[0]["text"], "input_ids" in bodies[0]) == ("Paris is", False)
    assert answer.tokens_sent == 9


async def test_without_wanted_tokens_the_likeliest_token_is_returned(loopback: Loopback) -> None:
    reply = generated((-0.8, 107), {})
    del reply["meta_info"]["output_token_ids_logprobs"]
    answer, bodies = await asking(loopback, [reply], ())
    assert "token_ids_logprob" not in bodies[0]
    assert answer.by_id == {107: -0.8}


async def test_without_cached_tokens_the_computed_ones_are_unknown(loopback: Loopback) -> None:
    answer, _ = await asking(loopback, [generated((-0.8, 107), {}, cached=None)], [107])
    assert (answer.tokens_sent, answer.tokens_computed) == (3, None)


async def test_a_missing_label_is_never_a_number(loopback: Loopback) -> None:
    with pytest.raises(LabelUnreachable, match="263: the server left it out"):
        await asking(loopback, [generated((-0.8, 107), {267: -1.0})], [267, 263])


async def test_minus_infinity_comes_as_null_and_is_no_number(loopback: Loopback) -> None:
    with pytest.raises(LabelUnreachable, match="263: the language model considers it impossible"):
        await asking(loopback, [generated((-0.8, 107), {263: None})], [263])


async def test_a_prompt_that_was_cut_without_a_word_is_refused(loopback: Loopback) -> None:
    with pytest.raises(BackendRefused, match="given 3 tokens and read 2"):
        await asking(loopback, [generated((-0.8, 107), {263: -1.0}, prompt_tokens=2)], [263])


@pytest.mark.parametrize(
    "reply",
    [
        aborted("The input (9 tokens) is longer than the model's context length (8 tokens)."),
        aborted("Input length (9 tokens) exceeds the maximum allowed length (8 tokens)."),
        aborted("Something else", status_code=400),
    ],
    ids=["too long", "too long for the cache", "bad request"],
)
async def test_an_abort_because_of_the_request_is_a_refusal(loopback: Loopback, reply: Any) -> None:
    with pytest.raises(BackendRefused, match="abort"):
        await asking(loopback, [reply], [263])


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (aborted("Abort in waiting queue"), FailureKind.SERVER),
        (aborted("The request queue is full.", status_code=503, err_type=None), FailureKind.OVERLOADED),
    ],
    ids=["in the queue", "queue full"],
)
async def test_an_abort_for_another_reason_may_succeed_another_time(
    loopback: Loopback, reply: Any, kind: FailureKind
) -> None:
    with pytest.raises(BackendUnavailable, match="abort") as caught:
        await asking(loopback, [reply], [263])
    assert caught.value.kind is kind


def without(key: str) -> dict[str, Any]:
    reply = generated((-0.8, 107), {263: -1.0})
    del reply["meta_info"][key]
    return reply


@pytest.mark.parametrize(
    "reply",
    [
        {},
        [],
        {"meta_info": {"finish_reason": None}},
        without("prompt_tokens"),
        without("output_token_logprobs"),
        generated((-0.8, 107), {263: -1.0}, cached=4),
        {"meta_info": {**without("id")["meta_info"], "output_token_ids_logprobs": [[["-1.0", 263, None]]]}},
    ],
    ids=["empty", "list", "unfinished", "no count", "no token", "more cached than sent", "value of text"],
)
async def test_a_reply_of_another_form_is_malformed(loopback: Loopback, reply: Any) -> None:
    with pytest.raises(BackendUnavailable, match=GENERATE) as caught:
        await asking(loopback, [reply], [263])
    assert caught.value.kind is FailureKind.MALFORMED


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="no log-probability"):
        read_generated(generated((float("nan"), 107), {}), [107], 3)


SCORED = {
    "scores": [[0.2, 0.1], [0.3, 0.2]],
    "pooled_hidden_states": None,
    "token_logprobs": [[-1.6, -2.3], [-1.2, -1.7]],
    "model": "default",
    "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0},
    "object": "scoring",
}


async def test_the_beginning_of_many_prompts_travels_once(loopback: Loopback) -> None:
    answers, asked = await asking_many(loopback, {"/v1/score": [SCORED]}, [267, 263])
    assert asked == [
        (
            "/v1/score",
            {
                "query": [5, 6],
                "items": [[7], [8, 9]],
                "label_token_ids": [267, 263],
                "return_token_logprobs": True,
            },
        )
    ]
    assert answers == [NextToken({267: -1.6, 263: -2.3}, 7, None), NextToken({267: -1.2, 263: -1.7}, 0, None)]
    assert issubclass(SglangWire, ManyWire)


@pytest.mark.parametrize(
    "scores", [(404, {"detail": "Not Found"}), {**SCORED, "token_logprobs": None}], ids=["no route", "scores alone"]
)
async def test_an_older_release_is_given_whole_prompts_from_then_on(loopback: Loopback, scores: Any) -> None:
    batch = [generated((-0.8, 107), {267: -1.6}), generated((-0.8, 107), {267: -1.2}, prompt_tokens=4, cached=3)]
    answers, asked = await asking_many(loopback, {"/v1/score": [scores], GENERATE: [batch]}, [267], times=2)
    assert [path for path, _ in asked] == ["/v1/score", GENERATE, GENERATE]
    assert asked[1][1]["input_ids"] == [[5, 6, 7], [5, 6, 8, 9]]
    assert [answer.by_id[267] for answer in answers] == [-1.6, -1.2]
    assert [answer.tokens_computed for answer in answers] == [1, 1]


async def test_faults_of_the_prompts_leave_the_better_route_in_use(loopback: Loopback) -> None:
    too_long = (400, {"error": {"message": "The input (7 tokens) is longer than the model's context length"}})
    loopback.plan({"/v1/score": [too_long, SCORED], GENERATE: [too_long]})
    wire = wire_at(loopback.url)
    with pytest.raises(BackendRefused, match="longer than"):
        await wire.next_tokens((5, 6), [(7,), (8, 9)], [267, 263])
    assert len(await wire.next_tokens((5, 6), [(7,), (8, 9)], [267, 263])) == 2
    await wire.close()
    assert [path for path, _ in loopback.asked] == ["/v1/score", GENERATE, "/v1/score"]


@pytest.mark.parametrize(
    "reply",
    [
        {**SCORED, "token_logprobs": [[-1.6, -2.3]]},
        {**SCORED, "token_logprobs": [[-1.6], [-1.2]]},
        {**SCORED, "usage": None},
    ],
    ids=["an item short", "a token short", "no usage"],
)
async def test_scores_of_another_form_are_malformed(loopback: Loopback, reply: Any) -> None:
    with pytest.raises(BackendUnavailable, match="/v1/score") as caught:
        await asking_many(loopback, {"/v1/score": [reply]}, [267, 263])
    assert caught.value.kind is FailureKind.MALFORMED


MODEL: dict[str, Any] = {
    "model_path": "org/small-1B",
    "served_model_name": "small",
    "tokenizer_path": "org/small-1B",
    "is_generation": True,
    "weight_version": "default",
}
SERVER: dict[str, Any] = {
    "version": "0.5.23",
    "revision": "main",
    "page_size": 16,
    "max_running_requests": 256,
    "max_req_input_len": 4091,
    "disable_radix_cache": False,
    "enable_mis": False,
    "allow_auto_truncate": False,
    "internal_states": [{}],
}
MODELS: list[dict[str, Any]] = [{"id": "small", "root": "small", "max_model_len": 4096, "owned_by": "sglang"}]


def test_facts_are_read_from_the_launch_options() -> None:
    facts = read_facts(MODEL, SERVER, MODELS, "small")
    assert (facts.model, facts.revision, facts.server_version) == ("org/small-1B", "main", "0.5.23")
    assert (facts.context_tokens, facts.max_concurrent_requests, facts.cache_block_tokens) == (4090, 256, 16)
    assert (facts.problems, facts.advice) == ((), ())


def test_weights_put_in_place_of_the_models_own_make_another_revision() -> None:
    assert read_facts({**MODEL, "weight_version": "step-7"}, SERVER, MODELS, None).revision == "main step-7"


@pytest.mark.parametrize("option", ["disable_radix_cache", "enable_mis", "allow_auto_truncate"])
def test_a_harmful_option_is_named(option: str) -> None:
    (advice,) = read_facts(MODEL, {**SERVER, option: True}, MODELS, None).advice
    assert f"--{option.replace('_', '-')}" in advice


def test_options_that_make_the_server_unusable_are_a_problem() -> None:
    other, embedding = read_facts({**MODEL, "is_generation": False}, SERVER, MODELS, "large").problems
    assert other == "the server has no model 'large'; set the backend's model to one of: small"
    assert "embedding" in embedding


def test_an_adapter_that_no_call_would_reach_is_a_problem() -> None:
    models = [*MODELS, {"id": "trained", "root": "out/adapter", "parent": "small", "owned_by": "sglang"}]
    (problem,) = read_facts(MODEL, SERVER, models, "trained").problems
    assert "'trained' is a LoRA adapter, and calls would reach its base" in problem
    assert read_facts(MODEL, SERVER, models, "small").problems == ()


async def test_older_releases_are_recognised_by_another_route(loopback: Loopback) -> None:
    replies: dict[str, list[Any]] = {
        "/get_model_info": [MODEL],
        "/get_server_info": [SERVER],
        "/v1/models": [{"data": MODELS}],
    }
    loopback.plan(replies)
    wire = wire_at(loopback.url, api_key="secret")
    facts = await wire.facts()
    await wire.close()
    assert (facts.model, facts.server_version) == ("org/small-1B", "0.5.23")
    assert loopback.keys == {"Bearer secret"}


async def test_the_tokens_of_a_short_text_have_places(loopback: Loopback) -> None:
    replies: dict[str, list[Any]] = {
        "/tokenize": [{"tokens": [1, 4, 5, 6], "count": 4, "max_model_len": 8}],
        "/detokenize": [{"text": ["", "Paris", "Paris \ufffd", "Paris é"]}],
    }
    loopback.plan(replies)
    wire = wire_at(loopback.url)
    assert await wire.encode("Paris é", special=True) == [Token(1, 0), Token(4, 5), Token(5, 6), Token(6, 7)]
    assert await wire.encode("x" * 1000) == [Token(1), Token(4), Token(5), Token(6)]
    await wire.close()
    assert loopback.asked == [
        ("/tokenize", {"prompt": "Paris é", "add_special_tokens": True}),
        ("/detokenize", {"tokens": [[1], [1, 4], [1, 4, 5], [1, 4, 5, 6]]}),
        ("/tokenize", {"prompt": "x" * 1000, "add_special_tokens": False}),
    ]


async def test_offsets_that_the_decoded_text_does_not_give_are_left_out(loopback: Loopback) -> None:
    replies: dict[str, list[Any]] = {
        "/tokenize": [{"tokens": [4, 5]}],
        "/detokenize": [{"text": ["paris", "paris is"]}],
    }
    loopback.plan(replies)
    wire = wire_at(loopback.url)
    assert await wire.encode("Paris is") == [Token(4), Token(5)]
    await wire.close()
