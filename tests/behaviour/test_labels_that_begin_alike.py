"""Of labels that share their first tokens, every kind of server returns the one that its model prefers."""

import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager

import pytest

from inference.app import create_app
from inference.settings import Limits
from service.identifiers import Row
from service.ports.scoring import Scorer
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.servers.adapters import ALL_TOKENS, Waits, fake_of, rig_of, scorer_of
from tests.servers.asking import KINDS
from tests.servers.language_model import ToyLanguageModel, ToyTokenizer
from tests.servers.tgi import FakeTgi
from tests.support.inference.served import served
from tests.support.inference.tiny import bigrams, engine_of

ANSWERS = ("1", "10")
LABELS = (*ANSWERS, "True")
WORDS = ("no", "yes", "yes and no")
TREE = PromptTree("Paris is in France. True\n\n", (Query(Row(0), "Oslo is"), Query(Row(1), "Lima is in Peru? It is")))
EMBEDDED = {"embedded by tgi's wire": "tgi", "embedded by vllm's wire": "vllm", "embedded": "embedded"}
VOCABULARY = 400

# Of the other fake servers test_wires.py says more: with the separator, too, their scores are the language model's own.
with_embedded = pytest.mark.parametrize("kind", ["tgi", *EMBEDDED])
Urls = Mapping[str, str]


@pytest.fixture(scope="module")
def urls() -> Iterator[Urls]:
    """The URL of the embedded server for each answer that its language model is sure of."""
    with ExitStack() as stack:
        engines = {
            answer: engine_of(bigrams({" is": " 1", " 1": follower, "0": "\n"}))
            for answer, follower in zip(ANSWERS, ("\n", "0"), strict=True)
        }
        limits = Limits(max_top_n_tokens=VOCABULARY)
        yield {answer: stack.enter_context(served(create_app(engine, limits))) for answer, engine in engines.items()}


@asynccontextmanager
async def scorer_whose_model_says(answer: str, kind: str, urls: Urls) -> AsyncIterator[Scorer]:
    """A scorer of the kind, its language model sure of this answer."""
    if kind in KINDS:
        server = FakeTgi(max_top_n_tokens=ALL_TOKENS) if kind == "tgi" else fake_of(kind)
        server.model = ToyLanguageModel(ToyTokenizer(), answers=(answer,))
        async with rig_of(kind, server, max_top_tokens=ALL_TOKENS) as rig:
            yield rig.scorer
        return
    scorer = scorer_of(EMBEDDED[kind], urls[answer], Waits().executor(), max_top_tokens=VOCABULARY)
    yield scorer
    await scorer.close()


async def scored(
    scorer: Scorer, labels: Sequence[str] = LABELS, *, separator: str = "\n\n", all_spellings: bool = False
) -> list[dict[str, float]]:
    """Log-probabilities by label, for each row."""
    scores = await scorer.score(TREE, labels, separator=separator, all_spellings=all_spellings)
    return [dict(zip(labels, values, strict=True)) for values in scores.log_probabilities.values()]


@with_embedded
@pytest.mark.parametrize("answer", ANSWERS)
async def test_the_label_that_the_language_model_means_wins(answer: str, kind: str, urls: Urls) -> None:
    async with scorer_whose_model_says(answer, kind, urls) as scorer:
        rows = await scored(scorer)
    assert [max(row, key=row.__getitem__) for row in rows] == [answer] * 2
    assert all(sum(map(math.exp, row.values())) <= 1 for row in rows)


@with_embedded
async def test_the_labels_that_no_other_begins_with_are_scored_as_without_a_separator(kind: str, urls: Urls) -> None:
    async with scorer_whose_model_says("10", kind, urls) as scorer:
        rows = zip(await scored(scorer), await scored(scorer, separator=""), strict=True)
    for ended, plain in rows:
        assert ended["1"] < ended["10"] <= plain["1"]
        assert (ended["10"], ended["True"]) == pytest.approx((plain["10"], plain["True"]), abs=1e-5)


@pytest.mark.parametrize(
    "kind", ["vllm", "sglang", "embedded by vllm's wire", "embedded"]
)  # others ask for likely tokens
async def test_the_end_of_a_label_and_its_continuation_are_scored_in_one_call(kind: str, urls: Urls) -> None:
    async with scorer_whose_model_says("10", kind, urls) as scorer:
        ended = (await scorer.score(TREE, LABELS, separator="\n\n")).usage
        plain = (await scorer.score(TREE, LABELS)).usage
    assert ended.prompts == plain.prompts >= 4  # for each row one behind the prompt, and one behind " 1"
    assert ended.tokens_sent == plain.tokens_sent


@pytest.mark.parametrize(
    "kind", [kind if kind == "vllm" else pytest.param(kind, marks=pytest.mark.long) for kind in KINDS]
)
@pytest.mark.parametrize(
    "answer",
    [*(pytest.param(answer, marks=pytest.mark.long) for answer in ("no", "yes")), "yes and no"],
)
async def test_words_win_in_all_their_spellings(answer: str, kind: str, urls: Urls) -> None:
    async with scorer_whose_model_says(answer, kind, urls) as scorer:
        rows = await scored(scorer, WORDS, all_spellings=True)
    assert [max(row, key=row.__getitem__) for row in rows] == [answer] * 2
    assert all(sum(map(math.exp, row.values())) <= 1 for row in rows)


@pytest.mark.parametrize("kind", ["vllm", "tgi", "embedded"])  # prompts as ids, as text, and whole trees
async def test_the_probe_takes_labels_that_begin_alike(kind: str, urls: Urls) -> None:
    async with scorer_whose_model_says("10", kind, urls) as scorer:
        info = await scorer.probe(LABELS, separator="\n\n")
    assert (info.ready, info.problems) == (True, ())
