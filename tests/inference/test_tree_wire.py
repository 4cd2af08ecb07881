"""A whole prompt tree in one call has the scores and the cost of its prompts one by one."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings

from inference.app import create_app
from inference.batching.generation import Generation
from inference.engine import Engine
from inference.errors import GenerationFailed
from inference.serving import Serving
from inference.settings import Limits
from inference.tree_prompts import Tree
from tests.inference.trees import LABELS, prompts_of, trees
from tests.long import LONG
from tests.support.inference.tiny import (
    CONTEXT_TOKENS,
    engine_of,
    llama,
    plain_scores,
    train_tokenizer,
    trie_size,
    until,
)

PROMPT = "The city of Paris is in France."
SPLIT = ("True", "True story", "Truest", "yes", "no\nno", "Paris", "city of")  # of several tokens, some shared
TOKENIZER = train_tokenizer()
TOKENIZER.split_special_tokens = True  # a row is text, whatever it looks like
FIRST_TOKENS = [TOKENIZER.encode(f" {label}", add_special_tokens=False)[0] for label in LABELS]


def body_of(tree: Tree) -> dict[str, Any]:
    return {
        "nodes": [{"parent": segment.parent, "text": segment.text} for segment in tree.segments],
        "queries": [{"node": query.segment, "text": query.text} for query in tree.queries],
        "labels": [spelling.text.removeprefix(" ") for spelling in tree.spellings],
    }


def one(text: str = PROMPT, *labels: str) -> dict[str, Any]:
    """The body of a tree of one query."""
    nodes = [{"parent": None, "text": ""}]
    return {"nodes": nodes, "queries": [{"node": 0, "text": text}], "labels": labels or LABELS}


@pytest.fixture(scope="module")
def whole_engine() -> Engine:
    return engine_of(llama())


@asynccontextmanager
async def fresh(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """A server whose prefix cache is empty."""
    assert engine._packed is not None
    engine._packed.cache.clear()
    app = create_app(engine, Limits(max_top_n_tokens=400))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


async def one_by_one(client: httpx.AsyncClient, texts: list[str]) -> tuple[dict[str, list[float]], int]:
    """Each distinct prompt through `/generate`: scores of the labels' tokens, tokens computed."""
    found, computed = dict[str, list[float]](), 0
    for text in sorted(set(texts), key=TOKENIZER.encode):
        parameters = {"max_new_tokens": 1, "details": True, "top_n_tokens": 400}
        reply = await client.post("/generate", json={"inputs": text, "parameters": parameters})
        details = reply.json()["details"]
        scores = {token["id"]: token["logprob"] for token in details["top_tokens"][0]}
        found[text] = [scores[token] for token in FIRST_TOKENS]
        computed += details["computed_tokens"]
    return found, computed


@settings(max_examples=25 if LONG else 10, deadline=None)
@given(tree=trees())
def test_a_tree_scores_and_costs_what_single_calls_do(tree: Tree, whole_engine: Engine) -> None:
    async def compare() -> None:
        texts = prompts_of(tree)
        async with fresh(whole_engine) as client:
            reply = await client.post("/v1/score_tree", json=body_of(tree))
        async with fresh(whole_engine) as client:
            expected, computed = await one_by_one(client, texts)
        prompts = [TOKENIZER.encode(text) for text in texts]
        assert reply.json()["usage"] == {
            "prompts": len(prompts),
            "tokens_sent": sum(map(len, prompts)),
            "tokens_computed": computed,
        }
        assert computed == trie_size(prompts)
        for row, text in zip(reply.json()["log_probabilities"], texts, strict=True):
            assert row == pytest.approx(expected[text], abs=1e-5)

    asyncio.run(compare())


@settings(max_examples=10 if LONG else 4, deadline=None)
@given(tree=trees(SPLIT, most_segments=4))
def test_labels_of_several_tokens_follow_the_chain_rule(tree: Tree, whole_engine: Engine) -> None:
    async def compare() -> None:
        async with fresh(whole_engine) as client:
            reply = (await client.post("/v1/score_tree", json=body_of(tree))).json()
        read = list[list[int]]()
        for row, text in zip(reply["log_probabilities"], prompts_of(tree), strict=True):
            beginnings = set[tuple[int, ...]]()
            for value, label in zip(row, SPLIT, strict=True):
                ids, start = TOKENIZER.encode(f"{text} {label}"), len(TOKENIZER.encode(text))
                steps = range(start, len(ids))
                total = sum(float(plain_scores(whole_engine, ids[:step])[ids[step]]) for step in steps)
                assert value == pytest.approx(total, abs=1e-4)
                beginnings |= {tuple(ids[:step]) for step in steps}
            read += map(list, beginnings)
        assert reply["usage"] == {
            "prompts": len(read),
            "tokens_sent": sum(map(len, read)),
            "tokens_computed": trie_size(read),
        }

    asyncio.run(compare())


async def test_a_label_that_another_begins_with_is_scored_with_the_token_that_ends_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    labels = ("1", "10", "True", "Truest", "Rome")
    body = one(PROMPT, *labels)
    reply = (await client.post("/v1/score_tree", json={**body, "separator": "\n\n"})).json()
    plain = (await client.post("/v1/score_tree", json=body)).json()
    start = len(TOKENIZER.encode(PROMPT))
    for label, value, without in zip(labels, reply["log_probabilities"][0], plain["log_probabilities"][0], strict=True):
        ids = TOKENIZER.encode(f"{PROMPT} {label}")
        if label in ("1", "True"):
            ids = TOKENIZER.encode(f"{PROMPT} {label}\n\nThe")[: len(ids) + 1]
        steps = range(start, len(ids))
        total = sum(float(plain_scores(engine, ids[:step])[ids[step]]) for step in steps)
        assert value == pytest.approx(total, abs=1e-4)
        assert (value < without - 1e-3) == (label in ("1", "True"))
    assert [reply["usage"][name] == plain["usage"][name] for name in ("prompts", "tokens_sent")] == [True, True]


async def test_a_label_that_the_separator_cannot_end_is_refused_by_name(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/score_tree", json={**one(PROMPT, "1", "10"), "separator": "0"})
    assert reply.status_code == 422
    assert "no token of the separator '0' ends it" in reply.json()["error"]


async def test_a_label_has_the_probability_of_all_its_spellings(client: httpx.AsyncClient, engine: Engine) -> None:
    spellings = [[" true", "True", " TRUE", " True"], []]
    reply = (await client.post("/v1/score_tree", json={**one(PROMPT, "True", "False"), "spellings": spellings})).json()
    plain = (await client.post("/v1/score_tree", json=one(PROMPT, "True", "False"))).json()
    prompt, total = TOKENIZER.encode(PROMPT), 0.0
    for text in {" True", *spellings[0]}:
        ids = TOKENIZER.encode(PROMPT + text)
        steps = range(len(prompt), len(ids))
        total += math.exp(sum(float(plain_scores(engine, ids[:step])[ids[step]]) for step in steps))
    (found, false), (_, expected_false) = reply["log_probabilities"][0], plain["log_probabilities"][0]
    assert (found, false) == (pytest.approx(math.log(total), abs=1e-4), pytest.approx(expected_false, abs=1e-5))


async def test_a_spelling_that_merges_with_the_prompt_is_left_out(client: httpx.AsyncClient) -> None:
    ids = TOKENIZER.encode
    assert ids("Par" + "is")[: len(ids("Par"))] != ids("Par")
    body = one("Par", "True", "False")
    merged = await client.post("/v1/score_tree", json={**body, "spellings": [["is"], [" false"]]})
    without = await client.post("/v1/score_tree", json={**body, "spellings": [[], [" false"]]})
    assert merged.json()["log_probabilities"][0] == pytest.approx(without.json()["log_probabilities"][0], abs=1e-5)


async def test_twenty_labels_are_scored_in_their_order(client: httpx.AsyncClient, engine: Engine) -> None:
    labels = [f"{left}{right}" for left in "abcde" for right in "wxyz"]
    forwards = (await client.post("/v1/score_tree", json=one(PROMPT, *labels))).json()["log_probabilities"][0]
    backwards = (await client.post("/v1/score_tree", json=one(PROMPT, *labels[::-1]))).json()["log_probabilities"][0]
    assert len(set(forwards)) == 20
    assert forwards == pytest.approx(backwards[::-1], abs=1e-5)


async def test_a_chain_of_400_nodes_is_scored() -> None:
    engine = engine_of(llama(context_tokens=2048), cache_tokens=8192)
    nodes = [{"parent": place - 1 if place else None, "text": f"I{place}\n"} for place in range(400)]
    asked = range(9, 400, 10)
    queries = [{"node": place, "text": "Is"} for place in asked]
    async with fresh(engine) as client:
        body = {"nodes": nodes, "queries": queries, "labels": LABELS}
        reply = (await client.post("/v1/score_tree", json=body)).json()
    prompts = [TOKENIZER.encode("".join(f"I{place}\n" for place in range(end + 1)) + "Is") for end in asked]
    assert reply["usage"]["tokens_sent"] == sum(map(len, prompts))
    assert reply["usage"]["tokens_computed"] == trie_size(prompts)
    expected = plain_scores(engine, prompts[-1])[FIRST_TOKENS]
    assert reply["log_probabilities"][-1] == pytest.approx(expected.tolist(), abs=1e-5)


async def test_a_tree_larger_than_a_piece_is_answered_whole(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [{"node": 0, "text": f" {number}"} for number in range(30)]
    body = {"nodes": [{"parent": None, "text": PROMPT}], "queries": queries, "labels": LABELS}
    whole = (await client.post("/v1/score_tree", json=body)).json()
    monkeypatch.setattr("inference.tree_scores.PIECE_TOKENS", 100)
    parts = (await client.post("/v1/score_tree", json=body)).json()
    assert np.abs(np.subtract(parts["log_probabilities"], whole["log_probabilities"])).max() < 1e-5
    assert parts["usage"]["tokens_sent"] == whole["usage"]["tokens_sent"]


async def test_a_tree_without_queries_costs_nothing(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/score_tree", json={"nodes": [], "queries": [], "labels": ["True"]})
    assert reply.json() == {
        "log_probabilities": [],
        "usage": {"prompts": 0, "tokens_sent": 0, "tokens_computed": 0},
    }


async def test_the_longest_prompt_that_fits_is_scored_and_one_token_more_is_refused(client: httpx.AsyncClient) -> None:
    fitting = "\n" * (CONTEXT_TOKENS - 2)  # BOS before it
    assert (await client.post("/v1/score_tree", json=one(fitting))).status_code == 200
    body = one(fitting)
    body["queries"].append({"node": 0, "text": fitting + "\n"})
    reply = await client.post("/v1/score_tree", json=body)
    assert reply.status_code == 422
    assert reply.json()["error_type"] == "validation"
    assert "the prompt of query 1 has 256 tokens" in reply.json()["error"]
    assert "at most 255 fit" in reply.json()["error"]
    longer = await client.post("/v1/score_tree", json=one(fitting, "Truest"))
    assert "query 0 has 255 tokens, 256 with" in longer.json()["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"nodes": [], "queries": []}, "labels: Field required"),
        ({"nodes": [], "queries": [], "labels": []}, "labels: List should have at least 1 item"),
        ({"nodes": [{"parent": 0, "text": ""}], "queries": [], "labels": ["a"]}, "nodes.0.parent: 0 is not the place"),
        ({"nodes": [{"parent": -1, "text": ""}], "queries": [], "labels": ["a"]}, "nodes.0.parent"),
        ({"nodes": [], "queries": [{"node": 0, "text": ""}], "labels": ["a"]}, "queries.0.node: there is no node 0"),
        ({"nodes": [{"text": 5}], "queries": [], "labels": ["a"]}, "nodes.0.text"),
        (one(PROMPT, "True", "True"), "the labels 'True' and 'True' are the same tokens"),
        ({**one(PROMPT, "a", "b"), "spellings": [["A"], ["A"]]}, "the spelling 'A' stands for two labels"),
        ({**one(PROMPT, "a", "b"), "spellings": [[" b"], []]}, "the spelling ' b' stands for two labels"),
        ({**one(PROMPT, "a", "b"), "spellings": [[]]}, "spellings: 1 lists for 2 labels"),
    ],
)
async def test_a_body_that_is_no_tree_is_refused_by_place(
    client: httpx.AsyncClient, body: dict[str, Any], message: str
) -> None:
    reply = await client.post("/v1/score_tree", json=body)
    assert reply.status_code == 422
    assert message in reply.json()["error"]


async def test_one_tree_too_many_is_refused_as_overloaded(client: httpx.AsyncClient, app: FastAPI) -> None:
    serving_of(app).in_flight = 8
    reply = await client.post("/v1/score_tree", json=one())
    assert (reply.status_code, reply.json()["error_type"]) == (429, "overloaded")
    assert (await client.post("/v1/count_tokens", json={"texts": ["a"]})).status_code == 200


async def test_a_failed_batch_is_reported(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> list[Generation]:
        raise GenerationFailed("out of memory")

    monkeypatch.setattr(serving_of(app).scheduler, "generate", fail)
    reply = await client.post("/v1/score_tree", json=one())
    assert (reply.status_code, reply.json()) == (500, {"error": "out of memory", "error_type": "generation"})


async def test_a_client_that_hangs_up_leaves_nothing_of_its_tree_behind(
    url: str, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.batching.scheduler._BATCH_PROMPTS", 1)
    serving = serving_of(app)
    queries = [{"node": 0, "text": f" {number}"} for number in range(500)]
    body = {"nodes": [{"parent": None, "text": PROMPT}], "queries": queries, "labels": LABELS}
    async with httpx.AsyncClient() as client:
        task = asyncio.create_task(client.post(f"{url}/v1/score_tree", json=body))
        await until(lambda: serving.scheduler.prompts > 0)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: serving.in_flight == 0 and serving.scheduler.waiting == 0)
        assert serving.scheduler.prompts < 500
        metrics = (await client.get(f"{url}/metrics")).text
    assert 'inference_requests_refused_total{reason="ClientGone"} 1.0' in metrics


async def test_counts_are_those_of_the_tokens_that_tokenize_shows(client: httpx.AsyncClient) -> None:
    texts = [PROMPT, "", "é 1\n\n", "<s>", PROMPT]
    counts = (await client.post("/v1/count_tokens", json={"texts": texts})).json()["counts"]
    for text, count in zip(texts, counts, strict=True):
        tokens = (await client.post("/tokenize", json={"inputs": text})).json()
        assert count == sum(token["stop"] > token["start"] for token in tokens)
    assert (await client.post("/v1/count_tokens", json={"texts": []})).json() == {"counts": []}
    assert (await client.post("/v1/count_tokens", json={"texts": [1]})).status_code == 422


def serving_of(app: FastAPI) -> Serving:
    serving: Serving = app.state.serving
    return serving
