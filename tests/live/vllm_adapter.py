"""The adapter `vllm` against a real vLLM: what every scorer does, and what vLLM does of its own.

The file is named so that `make test` passes it by; `make test-vllm` runs it.
"""

from collections.abc import AsyncIterator

import pytest

from benchmarks.vllm_server import prompt_tokens
from service.errors import BackendRefused
from service.identifiers import Row
from service.ports.scoring import Scorer
from service.scoring.calls.executor import CallExecutor
from service.scoring.embedded import EmbeddedScorer
from service.scoring.prompts import PromptScorer
from service.scoring.wires.vllm import VllmWire
from service.scoring.wires.wire import Prompt
from service.search.predictions.prompt_tree import PromptTree, Query, TreeScores
from tests.behaviour import test_scorers
from tests.live.conftest import TIMEOUT_SECONDS, LiveServer, Say

# The suite for all scorers, run with the scorer below; definitions further down replace tests of the suite.
globals().update({name: test for name, test in vars(test_scorers).items() if name.startswith("test_")})

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

CONTEXT_TOKENS = 4095  # one of the server's 4096 is left for the generated token
FACTS = "".join(f"{number} is larger than {number - 1}. True\n\n" for number in range(50, 150))


@pytest.fixture
async def wire(vllm: LiveServer) -> AsyncIterator[VllmWire]:
    made = VllmWire(vllm.url, timeout_seconds=300, connections=16)
    yield made
    await made.close()


@pytest.fixture(params=["vllm"])
async def scorer(wire: VllmWire) -> Scorer:
    return PromptScorer("default", wire, CallExecutor(concurrency=16))


def claims(beginning: str, count: int) -> PromptTree:
    """Queries after a common beginning, some of them true."""
    texts = (f"{number} is larger than {57 + number % 7}." for number in range(50, 50 + count))
    return PromptTree(beginning, tuple(Query(Row(place), text) for place, text in enumerate(texts)))


def furthest(one: TreeScores, other: TreeScores) -> float:
    """The largest difference of a label's log-probability, nats."""
    return max(
        abs(value - twin)
        for row, values in one.log_probabilities.items()
        for value, twin in zip(values, other.log_probabilities[row], strict=True)
    )


async def test_a_shared_beginning_is_computed_once(scorer: Scorer) -> None:
    """Replaces the suite's test, whose beginning is shorter than a block of vLLM's prefix cache on the CPU."""
    usage = (await scorer.score(claims(FACTS, 40), ("True", "False"))).usage
    assert usage.prompts == 40
    assert 40 <= usage.tokens_computed < usage.tokens_sent / 2


async def test_scores_are_those_of_the_embedded_server(
    scorer: Scorer, vllm: LiveServer, vllm_twin_url: str, say: Say
) -> None:
    embedded = EmbeddedScorer("default", vllm_twin_url, timeout_seconds=300)
    largest = 0.0
    try:
        for tree in (claims("", 16), claims(FACTS, 16)):
            for labels in (("True", "False"), ("larger", "True or False", "Oslo")):
                found, expected = await scorer.score(tree, labels), await embedded.score(tree, labels)
                assert found.log_probabilities.keys() == expected.log_probabilities.keys()
                largest = max(largest, furthest(found, expected))
    finally:
        await embedded.close()
    say(f"scores of vLLM with {vllm.same.name}: at most {largest:.1e} nats from the embedded server's")
    assert largest < vllm.steady_nats


async def test_tokens_are_those_of_the_servers_own_counters(scorer: Scorer, vllm: LiveServer) -> None:
    await scorer.score(claims("", 1), ("True", "False"))  # finds the labels' tokens
    before = prompt_tokens(vllm.url)
    usage = (await scorer.score(claims(f"Counted. {FACTS}", 20), ("True", "False"))).usage
    spent = prompt_tokens(vllm.url).since(before)
    assert (usage.tokens_sent, usage.tokens_computed) == (spent.sent, spent.computed)
    assert not usage.modelled
    assert usage.tokens_computed < usage.tokens_sent / 4


async def test_a_prompt_as_long_as_the_context_is_scored_and_a_longer_one_refused(wire: VllmWire) -> None:
    assert (await wire.facts()).context_tokens == CONTEXT_TOKENS
    answer = await wire.next_token(Prompt("", (5,) * CONTEXT_TOKENS), (3, 4))
    assert {3, 4} <= answer.by_id.keys()
    with pytest.raises(BackendRefused):
        await wire.next_token(Prompt("", (5,) * (CONTEXT_TOKENS + 1)), (3, 4))


async def test_more_tokens_than_one_call_names_are_all_answered(wire: VllmWire) -> None:
    wanted = range(2, 302)
    answer = await wire.next_token(Prompt("", (5,) * 200), wanted)
    assert set(wanted) <= answer.by_id.keys()


async def test_a_token_that_is_not_in_the_vocabulary_is_refused(wire: VllmWire) -> None:
    with pytest.raises(BackendRefused, match="vocab"):
        await wire.next_token(Prompt("", (5,) * 20), (3, 999_999))
