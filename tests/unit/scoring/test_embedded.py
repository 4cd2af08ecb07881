import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from service.errors import BackendRefused, BackendUnavailable, LabelUnreachable
from service.identifiers import Label, Row
from service.scoring.embedded import EmbeddedScorer
from service.search.predictions.prompt_tree import PromptTree, Query
from service.search.prompting.planner import chain, leave_one_out
from service.search.state.problem import Problem
from tests.servers.connections import Hosted, serving
from tests.support.inference.tiny import CONTEXT_TOKENS
from tests.unit.scoring.scorers import tgi_scorer, vllm_scorer

TREE = PromptTree("a True b False ", (Query(Row(3), "c"),), (PromptTree("d True ", (Query(Row(7), "e"),)),))
LABELS = ("True", "False")
ANSWER = {
    "log_probabilities": [[-0.5, -1.0], [-0.25, -2.0]],
    "usage": {"prompts": 2, "tokens_sent": 20, "tokens_computed": 12},
}


@dataclass
class FakeEmbedded:
    """Answers as the embedded server does; `plan` has replies to return instead, one for each tree."""

    answer: Any = field(default_factory=lambda: ANSWER)
    plan: list[Response] = field(default_factory=list)
    trees: list[Any] = field(default_factory=list)
    counted: list[list[str]] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    def app(self) -> FastAPI:
        """The routes that scoring uses."""
        app = FastAPI()
        info = {"model_id": "fake", "model_sha": "abc", "max_input_tokens": 255}
        app.add_api_route("/info", lambda: {**info, "adapters": [{"id": name, "sha": "d"} for name in self.adapters]})
        app.add_api_route("/v1/score_tree", self._score, methods=["POST"])
        app.add_api_route("/v1/count_tokens", self._count, methods=["POST"])
        return app

    async def _score(self, request: Request) -> Response:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.trees.append(await request.json())
        for _ in range(50):
            await asyncio.sleep(0)
        self.under_way -= 1
        return self.plan.pop(0) if self.plan else JSONResponse(self.answer)

    async def _count(self, request: Request) -> Response:
        texts = (await request.json())["texts"]
        self.counted.append(texts)
        return JSONResponse({"counts": [len(text.split()) for text in texts]})


@asynccontextmanager
async def scorer_of(fake: FakeEmbedded, **options: Any) -> AsyncIterator[EmbeddedScorer]:
    async with serving(Hosted(fake.app())) as url:
        scorer = EmbeddedScorer("default", url, timeout_seconds=10, **options)
        try:
            yield scorer
        finally:
            await scorer.close()


async def test_a_tree_travels_flat_and_each_segment_once() -> None:
    fake = FakeEmbedded()
    async with scorer_of(fake) as scorer:
        scores = await scorer.score(TREE, LABELS)
    assert fake.trees == [
        {
            "nodes": [{"parent": None, "text": "a True b False "}, {"parent": 0, "text": "d True "}],
            "queries": [{"node": 0, "text": "c"}, {"node": 1, "text": "e"}],
            "labels": ["True", "False"],
        }
    ]
    assert scores.log_probabilities == {3: (-0.5, -1.0), 7: (-0.25, -2.0)}
    assert (scores.usage.prompts, scores.usage.tokens_sent, scores.usage.tokens_computed) == (2, 20, 12)
    assert not scores.usage.modelled


async def test_every_tree_names_the_adapter_of_the_backend() -> None:
    fake = FakeEmbedded(plan=[JSONResponse({}, 500)])
    async with scorer_of(fake, adapter="trained") as scorer:
        await scorer.score(TREE, LABELS)
    assert [tree["adapter"] for tree in fake.trees] == ["trained"] * len(fake.trees)


async def test_a_refusal_by_a_server_that_has_the_adapter_stays_one() -> None:
    fake = FakeEmbedded(plan=[JSONResponse({"error": "query 1 has 256 tokens"}, 422)], adapters=["trained"])
    async with scorer_of(fake, adapter="trained") as scorer:
        with pytest.raises(BackendRefused, match="query 1 has 256 tokens"):
            await scorer.score(TREE, LABELS)


async def test_without_any_adapter_the_probe_says_how_to_launch_the_server() -> None:
    async with scorer_of(FakeEmbedded(), adapter="trained") as scorer:
        info = await scorer.probe(LABELS)
    assert info.problems == ("the server has no adapter 'trained'; launch the server with --adapter trained=FOLDER",)


async def test_a_tree_of_any_depth_can_be_sent() -> None:
    tree = PromptTree("leaf", (Query(Row(0), "q"), Query(Row(1), "r")))
    for _ in range(5_000):
        tree = PromptTree("x", (), (tree,))
    fake = FakeEmbedded()
    async with scorer_of(fake) as scorer:
        await scorer.score(tree, LABELS)
    assert [node["parent"] for node in fake.trees[0]["nodes"]] == [None, *range(5_000)]
    while tree.children:  # taken apart from the top, since freeing it whole would nest as deeply
        (tree,) = tree.children


async def test_a_failure_that_may_pass_is_tried_again() -> None:
    fake = FakeEmbedded(plan=[PlainTextResponse("down", 503)])
    async with scorer_of(fake) as scorer:
        assert len((await scorer.score(TREE, LABELS)).log_probabilities) == 2
    assert len(fake.trees) == 2


async def test_a_refusal_is_not_tried_again() -> None:
    fake = FakeEmbedded(plan=[JSONResponse({"error": "query 1 has 256 tokens"}, 422)])
    async with scorer_of(fake) as scorer:
        with pytest.raises(BackendRefused, match="query 1 has 256 tokens"):
            await scorer.score(TREE, LABELS)
    assert len(fake.trees) == 1


@pytest.mark.parametrize("impossible", [None, -9999.0])
async def test_a_label_of_probability_0_is_an_error_and_no_number_is_made_up(impossible: float | None) -> None:
    answer = {**ANSWER, "log_probabilities": [[-1, impossible], [-1, -1]]}
    async with scorer_of(FakeEmbedded(answer=answer)) as scorer:
        with pytest.raises(LabelUnreachable, match="'False' of row 3"):
            await scorer.score(TREE, LABELS)


@pytest.mark.parametrize(
    "answer",
    [[], {}, {**ANSWER, "log_probabilities": [[-1], [-1]]}],
)
async def test_an_answer_of_another_form_is_a_refusal(answer: Any) -> None:
    async with scorer_of(FakeEmbedded(answer=answer)) as scorer:
        with pytest.raises(BackendRefused, match="another form"):
            await scorer.score(TREE, LABELS)


async def test_no_more_trees_are_under_way_than_was_said() -> None:
    fake = FakeEmbedded()
    async with scorer_of(fake, concurrency=3) as scorer:
        await asyncio.gather(*(scorer.score(TREE, LABELS) for _ in range(20)))
    assert 1 <= fake.most_under_way <= 3
    assert len(fake.trees) == 20


async def test_texts_are_counted_in_batches_and_each_once() -> None:
    fake = FakeEmbedded()
    texts = [f"row {number} {'and so on ' * (number % 3)}" for number in range(2_500)]
    async with scorer_of(fake) as scorer:
        counts = await scorer.count_tokens([*texts, "", *texts])
        again = await scorer.count_tokens(texts)
    assert counts == [*(len(text.split()) for text in texts), 0, *(len(text.split()) for text in texts)]
    assert again == counts[:2_500]
    assert sorted(map(len, fake.counted)) == [500, 1_000, 1_000]


async def test_a_long_text_is_counted_in_a_separate_call() -> None:
    fake = FakeEmbedded()
    async with scorer_of(fake) as scorer:
        assert await scorer.count_tokens(["a", "word " * 300_000, "b c"]) == [1, 300_000, 2]
    assert sorted(map(len, fake.counted)) == [1, 1, 1]


async def test_a_server_that_is_not_there_is_unavailable_and_the_probe_says_so() -> None:
    scorer = EmbeddedScorer("default", "http://127.0.0.1:9", timeout_seconds=5, patience_seconds=0)
    info = await scorer.probe()
    assert (info.ready, info.reachable) == (False, False)
    with pytest.raises(BackendUnavailable):
        await scorer.count_tokens(["text"])
    await scorer.close()


async def test_the_probe_describes_the_server() -> None:
    one_row = {**ANSWER, "log_probabilities": [[-0.5, -1.0]]}
    async with scorer_of(FakeEmbedded(answer=one_row)) as scorer:
        info = await scorer.probe(LABELS)
    assert info.ready
    assert (info.kind, info.model, info.revision, info.context_tokens) == ("embedded", "fake", "abc", 255)


async def test_the_probe_names_what_the_server_refuses() -> None:
    plan: list[Response] = [JSONResponse({"error": "the labels are the same tokens"}, 422)]
    async with scorer_of(FakeEmbedded(plan=plan)) as scorer:
        info = await scorer.probe(LABELS)
    assert (info.ready, info.reachable) == (False, True)
    assert "same tokens" in info.problems[0]


async def test_the_probe_notices_answers_that_change() -> None:
    plan: list[Response] = [JSONResponse({**ANSWER, "log_probabilities": [[-0.5, -1.0]]})]
    async with scorer_of(FakeEmbedded(plan=plan, answer={**ANSWER, "log_probabilities": [[-1, -1]]})) as scorer:
        info = await scorer.probe(LABELS)
    [problem] = info.problems
    assert "identical calls differ by 0.5 nats" in problem


def problem_of(rows: int) -> Problem:
    texts = {Row(number): f"Paris is {number}" for number in range(rows)}
    return Problem(texts=texts, labels=("True", "False", "Truest"))


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        (leave_one_out, "tgi"),
        (chain, "vllm"),
        pytest.param(leave_one_out, "vllm", marks=pytest.mark.long),
        pytest.param(chain, "tgi", marks=pytest.mark.long),
    ],
)
async def test_it_scores_counts_and_costs_what_the_other_kinds_do(embedded_url: str, plan: Any, kind: str) -> None:
    problem = problem_of(6)
    tree = plan(problem, problem.rows, {row: row % 3 for row in problem.rows})
    ours = EmbeddedScorer("a", embedded_url)
    theirs = tgi_scorer(embedded_url, max_top_tokens=400) if kind == "tgi" else vllm_scorer(embedded_url)
    found, expected = await ours.score(tree, problem.labels), await theirs.score(tree, problem.labels)
    assert list(found.log_probabilities) == list(expected.log_probabilities)
    for row, values in expected.log_probabilities.items():
        assert found.log_probabilities[row] == pytest.approx(values, abs=1e-5)
        assert all(map(math.isfinite, values))
    if kind == "tgi":  # asks again where a label is not among the likeliest tokens, and pays for it
        assert found.usage.prompts < expected.usage.prompts
        assert found.usage.tokens_sent < expected.usage.tokens_sent
    else:
        assert (found.usage.prompts, found.usage.tokens_sent) == (expected.usage.prompts, expected.usage.tokens_sent)
    texts = [prompt for _, prompt in tree.prompts()]
    assert await ours.count_tokens(texts) == await theirs.count_tokens(texts)
    await ours.close()
    await theirs.close()


@pytest.mark.parametrize("kind", [pytest.param("tgi", marks=pytest.mark.long), "vllm"])
async def test_all_spellings_are_scored_as_by_the_other_kinds(embedded_url: str, kind: str) -> None:
    problem = problem_of(2)
    tree = leave_one_out(problem, problem.rows, {row: Label(row % 2) for row in problem.rows})
    ours = EmbeddedScorer("a", embedded_url)
    theirs = tgi_scorer(embedded_url, max_top_tokens=400) if kind == "tgi" else vllm_scorer(embedded_url)
    found = (await ours.score(tree, LABELS, all_spellings=True)).log_probabilities
    expected = (await theirs.score(tree, LABELS, all_spellings=True)).log_probabilities
    plain = (await ours.score(tree, LABELS)).log_probabilities
    for row, values in expected.items():
        assert found[row] == pytest.approx(values, abs=1e-5)
        assert all(each > own for each, own in zip(found[row], plain[row], strict=True))
    await ours.close()
    await theirs.close()


async def test_the_canary_differs_for_other_weights_under_the_same_name(embedded_url: str) -> None:
    ours = EmbeddedScorer("a", embedded_url)
    theirs = vllm_scorer(embedded_url)
    identity = await ours.identify()
    assert identity.canary == pytest.approx((await theirs.identify()).canary, abs=1e-5)
    assert not replace(identity, canary=(-9.0, *identity.canary[1:])).agrees_with(identity)
    await ours.close()
    await theirs.close()


async def test_a_prompt_that_does_not_fit_is_refused_with_its_place_and_length(embedded_url: str) -> None:
    tree = PromptTree("\n" * CONTEXT_TOKENS, (Query(Row(0), "a"),))
    scorer = EmbeddedScorer("default", embedded_url)
    with pytest.raises(BackendRefused, match=r"query 0 has \d+ tokens"):
        await scorer.score(tree, LABELS)
    await scorer.close()
