"""The adapter `vllm` against a real vLLM: what every scorer does, and what vLLM does of its own.

The file is named so that `make test` passes it by; `make test-vllm` runs it.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from benchmarks.vllm_server import prompt_tokens
from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import Source, load
from inference.settings import SMALL_MODEL, Limits
from service.errors import BackendRefused
from service.identifiers import Row
from service.ports.scoring import Scorer
from service.scoring.calls.executor import CallExecutor
from service.scoring.embedded import EmbeddedScorer
from service.scoring.prompts import PromptScorer
from service.scoring.wires.vllm import VllmWire
from service.scoring.wires.wire import Prompt
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.behaviour import test_scorers
from tests.live.conftest import TIMEOUT_SECONDS
from tests.support.inference.served import served

# The suite for all scorers, run with the scorer below; definitions further down replace tests of the suite.
globals().update({name: test for name, test in vars(test_scorers).items() if name.startswith("test_")})

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

CONTEXT_TOKENS = 4095  # one of the server's 4096 is left for the generated token
FACTS = "".join(f"{number} is larger than {number - 1}. True\n\n" for number in range(50, 150))


@pytest.fixture
async def wire(vllm_url: str) -> AsyncIterator[VllmWire]:
    made = VllmWire(vllm_url, timeout_seconds=120, connections=16)
    yield made
    await made.close()


@pytest.fixture(params=["vllm"])
async def scorer(wire: VllmWire) -> Scorer:
    return PromptScorer("default", wire, CallExecutor(concurrency=16))


@pytest.fixture(scope="module")
def embedded_url() -> Iterator[str]:
    """The embedded server with the same language model."""
    with served(create_app(Engine(load(Source(str(SMALL_MODEL))), CacheLimits()), Limits())) as url:
        yield url


def claims(beginning: str, count: int) -> PromptTree:
    """Queries after a common beginning, some of them true."""
    texts = (f"{number} is larger than {57 + number % 7}." for number in range(50, 50 + count))
    return PromptTree(beginning, tuple(Query(Row(place), text) for place, text in enumerate(texts)))


async def test_a_shared_beginning_is_computed_once(scorer: Scorer) -> None:
    """Replaces the suite's test, whose beginning is shorter than a block of vLLM's prefix cache on the CPU."""
    usage = (await scorer.score(claims(FACTS, 40), ("True", "False"))).usage
    assert usage.prompts == 40
    assert 40 <= usage.tokens_computed < usage.tokens_sent / 2


async def test_scores_are_those_of_the_embedded_server(scorer: Scorer, embedded_url: str) -> None:
    embedded = EmbeddedScorer("default", embedded_url)
    tree = claims(FACTS, 16)
    try:
        for labels in (("True", "False"), ("larger", "True or False", "Oslo")):
            expected = (await embedded.score(tree, labels)).log_probabilities
            found = (await scorer.score(tree, labels)).log_probabilities
            assert found.keys() == expected.keys()
            for row, values in found.items():
                assert values == pytest.approx(expected[row], abs=1e-3)
    finally:
        await embedded.close()


async def test_tokens_are_those_of_the_servers_own_counters(scorer: Scorer, vllm_url: str) -> None:
    await scorer.score(claims("", 1), ("True", "False"))  # finds the labels' tokens
    before = prompt_tokens(vllm_url)
    usage = (await scorer.score(claims(f"Counted. {FACTS}", 20), ("True", "False"))).usage
    spent = prompt_tokens(vllm_url).since(before)
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
