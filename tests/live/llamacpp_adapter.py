"""The adapter `llamacpp` against a real llama.cpp server: what every scorer does, and what that server does of its own.

The file is named so that `make test` passes it by; `make test-llamacpp` runs it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.llamacpp_server import computed_tokens
from inference.model.language_model import Source, load
from inference.model.tokenization import PromptTokenizer
from inference.settings import SMALL_MODEL
from service.errors import BackendRefused
from service.identifiers import Row
from service.ports.scoring import Scorer
from service.scoring.calls.executor import CallExecutor
from service.scoring.embedded import EmbeddedScorer
from service.scoring.prompts import PromptScorer
from service.scoring.wires.llamacpp import LlamaCppWire
from service.scoring.wires.wire import Prompt
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.behaviour import test_scorers
from tests.behaviour.test_scorers import DEMONSTRATIONS, LABELS, TREE
from tests.live.conftest import TIMEOUT_SECONDS, LiveServer, Say

# The suite for all scorers, run with the scorer below; definitions further down replace tests of the suite.
globals().update({name: test for name, test in vars(test_scorers).items() if name.startswith("test_")})

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

SLOTS = 4
EXAMPLES = Path(__file__).parents[2] / "examples" / "demo.jsonl"


@pytest.fixture
async def wire(gguf_server: LiveServer) -> AsyncIterator[LlamaCppWire]:
    made = LlamaCppWire(gguf_server.url, timeout_seconds=300, connections=SLOTS)
    yield made
    await made.close()


@pytest.fixture(params=["llamacpp"])
async def scorer(wire: LlamaCppWire) -> Scorer:
    return PromptScorer("default", wire, CallExecutor(concurrency=SLOTS))


async def test_a_tree_scores_as_its_prompts_do_by_themselves(scorer: Scorer, gguf_server: LiveServer) -> None:
    """Replaces the suite's test, which demands equality to five digits."""
    found = (await scorer.score(TREE, LABELS)).log_probabilities
    for row, prompt in TREE.prompts():
        alone = await scorer.score(PromptTree("", (Query(row, prompt),)), LABELS)
        assert found[row] == pytest.approx(alone.log_probabilities[row], abs=gguf_server.steady_nats)


async def test_trees_under_way_at_once_get_their_own_answers(scorer: Scorer, gguf_server: LiveServer) -> None:
    """Replaces the suite's test, as above."""
    trees = [PromptTree(DEMONSTRATIONS, (Query(Row(number), f"Claim {number}"),)) for number in range(10)]
    together = await asyncio.gather(*(scorer.score(tree, LABELS) for tree in trees))
    for number, (tree, scores) in enumerate(zip(trees, together, strict=True)):
        alone = (await scorer.score(tree, LABELS)).log_probabilities
        assert scores.log_probabilities[Row(number)] == pytest.approx(alone[Row(number)], abs=gguf_server.steady_nats)


async def test_a_label_is_likelier_in_all_its_spellings_than_in_one(scorer: Scorer, gguf_server: LiveServer) -> None:
    """Replaces the suite's test, as above."""
    one = (await scorer.score(TREE, LABELS)).log_probabilities
    every = (await scorer.score(TREE, LABELS, all_spellings=True)).log_probabilities
    assert list(every) == list(one)
    assert all(
        each >= own - gguf_server.steady_nats for row in one for each, own in zip(every[row], one[row], strict=True)
    )


async def test_scores_are_those_of_the_embedded_server(
    scorer: Scorer, gguf_server: LiveServer, gguf_twin_url: str, say: Say
) -> None:
    """A label's score is a sum over its tokens, one for each word here, and each may move."""
    embedded = EmbeddedScorer("default", gguf_twin_url, timeout_seconds=300)
    largest = 0.0
    try:
        for labels in (LABELS, ("larger", "True or False", "Oslo")):
            near = [gguf_server.steady_nats * len(label.split()) for label in labels]
            expected = (await embedded.score(TREE, labels)).log_probabilities
            found = (await scorer.score(TREE, labels)).log_probabilities
            assert found.keys() == expected.keys()
            for row, values in found.items():
                for value, other, nats in zip(values, expected[row], near, strict=True):
                    largest = max(largest, abs(value - other))
                    assert value == pytest.approx(other, abs=nats)
    finally:
        await embedded.close()
    say(f"scores of llama.cpp with {gguf_server.same.name}: at most {largest:.1e} nats from the embedded server's")


async def test_tokens_computed_are_those_of_the_servers_own_counter(scorer: Scorer, gguf_server: LiveServer) -> None:
    await scorer.score(TREE, LABELS)  # finds the labels' tokens
    before = computed_tokens(gguf_server.url)
    queries = tuple(Query(Row(number), f"Lima is {number}.") for number in range(12))
    usage = (await scorer.score(PromptTree(f"Counted. {DEMONSTRATIONS}", queries), LABELS)).usage
    assert usage.tokens_computed == computed_tokens(gguf_server.url) - before
    assert not usage.modelled


async def test_a_prompt_as_long_as_the_context_is_scored_and_a_longer_one_refused(
    small_gguf: LiveServer,
) -> None:
    """With the small model alone, since Gemma takes a minute for so many tokens."""
    wire = LlamaCppWire(small_gguf.url, timeout_seconds=300, connections=1)
    try:
        context = (await wire.facts()).context_tokens
        assert context is not None
        answer = await wire.next_token(Prompt("", (5,) * context), (3, 4))
        assert {3, 4} <= answer.by_id.keys()
        with pytest.raises(BackendRefused):
            await wire.next_token(Prompt("", (5,) * (context + 2)), (3, 4))
    finally:
        await wire.close()


async def test_a_token_that_is_not_in_the_vocabulary_is_refused(wire: LlamaCppWire) -> None:
    with pytest.raises(BackendRefused):
        await wire.next_token(Prompt("", (5, 999_999)), (3, 4))


async def test_texts_have_the_tokens_that_the_small_model_was_pretrained_on(small_gguf: LiveServer) -> None:
    """The file names the rule of llama.cpp for splitting text that is closest to the small model's."""
    tokenizer = PromptTokenizer(load(Source(str(SMALL_MODEL), "cpu")).tokenizer)
    wire = LlamaCppWire(small_gguf.url, timeout_seconds=60, connections=1)
    rows = map(json.loads, EXAMPLES.read_text("utf-8").splitlines())
    texts = {row["claim"] for row in rows if row["task"] != "spanish"}  # it ends with a quotation mark and a full stop
    try:
        for text in sorted(texts):
            whole = f"{text}\nI think this claim is True\n\n"
            assert [token.id for token in await wire.encode(whole)] == tokenizer.encode(whole, add_special_tokens=False)
    finally:
        await wire.close()
