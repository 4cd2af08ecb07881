"""What every scoring backend does.

The in-memory twin, the embedded server through each of its adapters, and every adapter over a
fake server of its kind.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator

import pytest

from inference.app import create_app
from inference.settings import Limits
from service.identifiers import Row
from service.ports.scoring import Scorer
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.long import LONG
from tests.servers.adapters import ALL_TOKENS, Waits, fake_of, rig_of, scorer_of
from tests.servers.asking import KINDS
from tests.servers.tgi import FakeTgi
from tests.support.inference.served import served
from tests.support.inference.tiny import engine_of, llama

DEMONSTRATIONS = "Paris is in France. True\n\nRome is in Spain. False\n\n"
TREE = PromptTree(
    DEMONSTRATIONS,
    (Query(Row(7), "Paris is in Spain."), Query(Row(3), "Rome is in Italy.")),
    (PromptTree("Oslo is in Norway. True\n\n", (Query(Row(5), "Lima is in Peru."),)),),
)
LABELS = ("True", "False")
MANY_LABELS = tuple(f"{left}{right}" for left in "abcde" for right in "wxyz")
VOCABULARY = 400
EMBEDDED = {"embedded by tgi's wire": "tgi", "embedded by vllm's wire": "vllm", "embedded": "embedded"}
FAKES = {f"fake {kind}": kind for kind in KINDS}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The embedded server over a tiny language model."""
    with served(create_app(engine_of(llama()), Limits(max_top_n_tokens=VOCABULARY))) as address:
        yield address


@pytest.fixture(params=["deterministic", *EMBEDDED, *FAKES])
async def scorer(request: pytest.FixtureRequest) -> AsyncIterator[Scorer]:
    """Each scorer in turn, beside the server it is for."""
    if request.param == "deterministic":
        yield DeterministicScorer()
    elif request.param in EMBEDDED:
        kind = EMBEDDED[request.param]
        made = scorer_of(kind, request.getfixturevalue("url"), Waits().executor(), max_top_tokens=VOCABULARY)
        yield made
        await made.close()
    else:
        kind = FAKES[request.param]
        server = FakeTgi(max_top_n_tokens=ALL_TOKENS) if kind == "tgi" else fake_of(kind)
        async with rig_of(kind, server, max_top_tokens=ALL_TOKENS) as rig:
            yield rig.scorer


# Of the fake servers test_wires.py, test_probe.py and test_faults.py say more.
beside_fakes = pytest.mark.parametrize("scorer", ["deterministic", *EMBEDDED], indirect=True)


@beside_fakes
async def test_every_query_gets_a_log_probability_for_each_label(scorer: Scorer) -> None:
    found = (await scorer.score(TREE, LABELS)).log_probabilities
    assert list(found) == [7, 3, 5]
    assert all(len(values) == 2 and max(values) <= 0 for values in found.values())
    assert all(sum(map(math.exp, values)) <= 1 + 1e-9 for values in found.values())


@beside_fakes
async def test_a_tree_scores_as_its_prompts_do_by_themselves(scorer: Scorer) -> None:
    found = (await scorer.score(TREE, LABELS)).log_probabilities
    for row, prompt in TREE.prompts():
        alone = await scorer.score(PromptTree("", (Query(row, prompt),)), LABELS)
        assert found[row] == pytest.approx(alone.log_probabilities[row], abs=1e-5)


@beside_fakes
async def test_twenty_labels_are_answered(scorer: Scorer) -> None:
    found = (await scorer.score(TREE, MANY_LABELS)).log_probabilities
    assert [len(values) for values in found.values()] == [20, 20, 20]


@beside_fakes
async def test_a_shared_beginning_is_computed_once(scorer: Scorer) -> None:
    queries = tuple(Query(Row(number), f"Oslo is {number}.") for number in range(40))
    usage = (await scorer.score(PromptTree(DEMONSTRATIONS, queries), LABELS)).usage
    assert usage.prompts >= 40  # more where a label was not among the likeliest tokens and had to be asked for again
    assert 40 <= usage.tokens_computed < usage.tokens_sent / 2


async def test_a_tree_without_queries_costs_nothing(scorer: Scorer) -> None:
    scores = await scorer.score(PromptTree(""), LABELS)
    assert (dict(scores.log_probabilities), scores.usage.prompts, scores.usage.tokens_computed) == ({}, 0, 0)


@beside_fakes
async def test_trees_under_way_at_once_get_their_own_answers(scorer: Scorer) -> None:
    numbers = range(10 if LONG else 4)
    trees = [PromptTree(DEMONSTRATIONS, (Query(Row(number), f"Claim {number}"),)) for number in numbers]
    together = await asyncio.gather(*(scorer.score(tree, LABELS) for tree in trees))
    for number, (tree, scores) in enumerate(zip(trees, together, strict=True)):
        alone = (await scorer.score(tree, LABELS)).log_probabilities
        assert scores.log_probabilities[Row(number)] == pytest.approx(alone[Row(number)], abs=1e-5)


async def test_tokens_are_counted_text_by_text(scorer: Scorer) -> None:
    texts = ["Paris is", "", DEMONSTRATIONS, "Paris is"]
    first, empty, longest, again = await scorer.count_tokens(texts)
    assert 0 == empty < first == again < longest
    assert await scorer.count_tokens([]) == []


# Through the other wires the embedded server says the same (`tests/unit/scoring/test_embedded.py`).
@pytest.mark.parametrize("scorer", ["deterministic", "embedded"], indirect=True)
async def test_a_label_is_likelier_in_all_its_spellings_than_in_one(scorer: Scorer) -> None:
    one = (await scorer.score(TREE, LABELS)).log_probabilities
    every = (await scorer.score(TREE, LABELS, all_spellings=True)).log_probabilities
    assert list(every) == list(one)
    assert all(each >= own - 1e-5 for row in one for each, own in zip(every[row], one[row], strict=True))
    assert (await scorer.probe(LABELS, all_spellings=True)).ready


@beside_fakes
async def test_a_backend_is_recognised_as_the_one_it_was(scorer: Scorer) -> None:
    first = await scorer.identify()
    await scorer.score(TREE, LABELS)
    again = await scorer.identify()
    assert first.agrees_with(again)
    assert first.fingerprint
    assert all(nats <= 0 for nats in first.canary)


@beside_fakes
async def test_the_probe_finds_a_backend_ready_for_labels_it_can_serve(scorer: Scorer) -> None:
    info = await scorer.probe(LABELS)
    assert (info.ready, info.problems) == (True, ())
    assert info.name == "default"
    assert info.context_tokens
    assert info.reports_tokens_computed
