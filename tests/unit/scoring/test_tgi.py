from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi.responses import JSONResponse, PlainTextResponse

from service.errors import BackendRefused, BackendUnavailable, LabelUnreachable
from service.identifiers import Row
from service.scoring.prompts import PromptScorer
from service.scoring.wires.tgi import TgiWire
from service.scoring.wires.wire import Prompt
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.servers.connections import Hosted, serving
from tests.unit.scoring.fake_tgi import FakeTgi
from tests.unit.scoring.scorers import tgi_scorer

TREE = PromptTree("a True b False ", (Query(Row(3), "c"),), (PromptTree("d True ", (Query(Row(7), "e"),)),))


@asynccontextmanager
async def scorer_of(fake: FakeTgi, *, max_top_tokens: int | None = None) -> AsyncIterator[PromptScorer]:
    async with serving(Hosted(fake.app())) as url:
        scorer = tgi_scorer(url, max_top_tokens=max_top_tokens or fake.cap)
        try:
            yield scorer
        finally:
            await scorer.close()


async def test_each_query_gets_the_log_probabilities_of_the_labels_in_their_order() -> None:
    async with scorer_of(FakeTgi()) as scorer:
        scores = await scorer.score(TREE, ["False", "True"])
    assert scores.log_probabilities == {3: (-1.3, -0.4), 7: (-1.3, -0.4)}


async def test_prompts_are_the_texts_on_the_path_from_the_root() -> None:
    fake = FakeTgi()
    async with scorer_of(fake) as scorer:
        await scorer.score(TREE, ["True", "False"])
    assert sorted(fake.prompts) == ["a True b False c", "a True b False d True e"]


async def test_labels_of_several_tokens_follow_the_chain_rule() -> None:
    fake = FakeTgi(splits={" True": [" Tr", "ue"]}, logprobs={" Tr": -1.5, "ue": -1.25, " False": -1.0})
    async with scorer_of(fake) as scorer:
        scores = await scorer.score(PromptTree("", (Query(Row(0), "c"),)), ["True", "False"])
    assert scores.log_probabilities[Row(0)] == pytest.approx((-2.75, -1.0))
    assert sorted(fake.prompts) == ["c", "c Tr"]


async def test_calls_request_more_alternatives_until_every_label_is_among_them() -> None:
    fake = FakeTgi(logprobs={" True": -0.1, ".": -3, " maybe": -4, " yes": -5, " no": -6, " False": -9})
    async with scorer_of(fake) as scorer:
        scores = await scorer.score(PromptTree("", (Query(Row(0), "c"),)), ["True", "False"])
    assert scores.log_probabilities[Row(0)] == (-0.1, -9)
    assert len(fake.prompts) == 2


async def test_the_next_call_requests_as_many_alternatives_as_the_last_needed() -> None:
    fake = FakeTgi(cap=100, logprobs={f" w{number}": -9.0 - number / 100 for number in range(40)} | {" False": -12.0})
    fake.logprobs[" True"] = -0.1
    async with scorer_of(fake) as scorer:
        for text in ("a", "b"):
            await scorer.score(PromptTree("", (Query(Row(0), text),)), ["True", "False"])
    assert fake.counts == [5, 50, 84]  # 42 were needed, and the next prompt may need more


async def test_every_request_of_a_call_is_counted() -> None:
    fake = FakeTgi(computed=True, logprobs={" True": -0.1, ".": -4, " maybe": -4, " yes": -5, " no": -6, " False": -9})
    async with scorer_of(fake) as scorer:
        usage = (await scorer.score(PromptTree("", (Query(Row(0), "c"),)), ["True", "False"])).usage
    assert (usage.prompts, usage.tokens_sent, usage.tokens_computed, usage.modelled) == (2, 20, 8, False)


async def test_a_lower_cap_that_the_server_names_is_kept_to() -> None:
    fake = FakeTgi(cap=6, logprobs={" True": -0.1, ".": -4, " maybe": -4, " yes": -5, " no": -6, " False": -9})
    async with scorer_of(fake, max_top_tokens=1000) as scorer:
        scores = await scorer.score(TREE, ["True", "False"])
        info = await scorer.probe(["True", "False"])
    assert scores.log_probabilities[Row(3)] == (-0.1, -9)
    assert info.max_top_tokens == 6
    assert {count for count in fake.counts if count > 5} == {50, 6}
    assert fake.counts.count(50) <= 2  # the first prompts of all


async def test_a_label_beyond_the_cap_is_scored_against_the_others_by_a_grammar() -> None:
    logprobs = {".": -0.5, "ue": -3, " yes": -4.0, " no": -4.5, " maybe": -4.6, " True": -5.0, " False": -7.0}
    fake = FakeTgi(cap=5, logprobs=logprobs)
    async with scorer_of(fake) as scorer:
        scores = await scorer.score(PromptTree("", (Query(Row(0), "c"),)), ["True", "False"])
    true, false = scores.log_probabilities[Row(0)]
    assert fake.grammars == [{"type": "regex", "value": "( True| False)"}]
    assert true - false == pytest.approx(2.0)
    assert scores.usage.prompts == 2


async def test_a_grammar_is_not_enough_for_labels_of_several_tokens() -> None:
    logprobs = {".": -0.5, "ue": -3, " yes": -4.0, " no": -4.5, " maybe": -4.6, " Tr": -5.0, " False": -7.0}
    async with scorer_of(FakeTgi(cap=5, splits={" True": [" Tr", "ue"]}, logprobs=logprobs)) as scorer:
        with pytest.raises(LabelUnreachable, match="only differences"):
            await scorer.score(PromptTree("", (Query(Row(0), "c"),)), ["True", "False"])


async def test_the_key_travels_as_a_bearer_token() -> None:
    fake = FakeTgi()
    async with serving(Hosted(fake.app())) as url:
        wire = TgiWire(url, timeout_seconds=5, connections=4, max_top_tokens=5, api_key="secret")
        await wire.next_token(Prompt("a"), ())
        await wire.close()
    assert fake.keys == {"Bearer secret"}


async def test_a_label_the_server_never_names_is_an_error_and_no_number_is_made_up() -> None:
    async with scorer_of(FakeTgi(logprobs={" True": -0.1, ".": -3})) as scorer:
        with pytest.raises(LabelUnreachable, match="False"):
            await scorer.score(TREE, ["True", "False"])


@pytest.mark.parametrize(
    "failure",
    [
        JSONResponse({"error": "generation failed", "error_type": "generation"}, 424),
        PlainTextResponse("starting", 503),
    ],
)
async def test_a_failure_that_may_pass_is_tried_again(failure: JSONResponse | PlainTextResponse) -> None:
    fake = FakeTgi(plan=[failure])
    async with scorer_of(fake) as scorer:
        scores = await scorer.score(PromptTree("", (Query(Row(0), "c"),)), ["True", "False"])
    assert scores.log_probabilities == {0: (-0.4, -1.3)}
    assert len(fake.prompts) == 2


async def test_a_refusal_is_not_tried_again() -> None:
    fake = FakeTgi(plan=[JSONResponse({"error": "`inputs` must have less tokens", "error_type": "validation"}, 422)])
    async with scorer_of(fake) as scorer:
        with pytest.raises(BackendRefused, match="less tokens"):
            await scorer.score(PromptTree("", (Query(Row(0), "c"),)), ["True", "False"])
    assert len(fake.prompts) == 1


async def test_a_server_that_is_not_there_is_unavailable_and_the_probe_says_so() -> None:
    scorer = tgi_scorer("http://127.0.0.1:9", timeout_seconds=5, patience_seconds=0)
    info = await scorer.probe()
    assert not info.ready
    assert not info.reachable
    with pytest.raises(BackendUnavailable):
        await scorer.count_tokens(["text"])
    await scorer.close()


async def test_the_probe_describes_the_server() -> None:
    async with scorer_of(FakeTgi(computed=True)) as scorer:
        info = await scorer.probe(["True", "False"])
    assert info.ready
    assert (info.kind, info.model, info.revision, info.context_tokens) == ("tgi", "fake", "abc", 512)
    assert info.reports_tokens_computed


async def test_where_the_server_does_not_count_an_ideal_prefix_cache_is_modelled_and_marked() -> None:
    tree = PromptTree(
        "a b c", (Query(Row(0), " d"), Query(Row(1), " e f")), (PromptTree(" g h", (Query(Row(2), " i"),)),)
    )
    async with scorer_of(FakeTgi()) as scorer:
        usage = (await scorer.score(tree, ["True", "False"])).usage
    special, nodes, queries = 1, 3 + 2, 1 + 2 + 1  # the fake's tokens are words
    assert usage.modelled
    assert usage.tokens_computed == special + nodes + queries
    assert usage.tokens_sent == 2 * (special + 3) + (special + 3 + 2) + queries


async def test_special_tokens_are_not_counted() -> None:
    async with scorer_of(FakeTgi()) as scorer:
        assert await scorer.count_tokens(["one two", "", "one"]) == [2, 0, 1]
