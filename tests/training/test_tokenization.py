"""Prompts and labels have the tokens by which the service scores them, and nothing is cut off or added."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import Source, load
from inference.model.tokenization import PromptTokenizer
from inference.settings import SMALL_MODEL, Limits
from service.identifiers import Row
from service.scoring.embedded import EmbeddedScorer
from service.scoring.tokenization.labels import find_label_tokens
from service.scoring.wires.wire import Token
from service.search.predictions.prompt_tree import PromptTree, Query
from service.values import further_spellings
from tests.inference.test_label_tokens import WORDS, characters
from tests.support.inference.served import served
from tests.support.inference.tiny import train_tokenizer
from tests.training.written import comparisons
from training.data.examples import Example
from training.data.tokenization import RowTokenizer, TokenisedPrompt
from training.errors import Refused
from training.kinds.evaluation import label_scores

SEPARATOR = "\n\n"
BEFORE = "I think this claim is"  # as the scorer has it where only a prompt's end matters


def small() -> PreTrainedTokenizerBase:
    made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(SMALL_MODEL, local_files_only=True)
    return made


def tokenised(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    labels: list[str],
    separator: str = SEPARATOR,
    spellings: Sequence[Sequence[str]] = (),
) -> TokenisedPrompt:
    [found] = RowTokenizer(tokenizer, 10_000).prompts([Example(7, prompt, 0)], labels, separator, spellings)
    return found


async def scored(tokenizer: PreTrainedTokenizerBase, labels: list[str], separator: str) -> list[tuple[int, ...]]:
    """The labels' tokens as the service's scorer finds them through a server's tokenizer."""
    return [path for [path] in await all_scored(tokenizer, labels, separator, all_spellings=False)]


async def all_scored(
    tokenizer: PreTrainedTokenizerBase, labels: list[str], separator: str, *, all_spellings: bool = True
) -> list[set[tuple[int, ...]]]:
    """The tokens of every label's spellings, in the same way."""
    own = PromptTokenizer(tokenizer)

    async def encode(text: str) -> list[Token]:
        return [Token(piece.id, piece.stop) for piece in own.pieces(text) if piece.stop > piece.start]

    found = await find_label_tokens(encode, labels, separator=separator, all_spellings=all_spellings)
    return [{tuple(token.id for token in path) for path in paths} for paths in found.paths]


@pytest.mark.parametrize("make", [small, train_tokenizer])
@pytest.mark.parametrize(
    "labels", [["True", "False"], ["1", "10", "100"], ["very good", "very", "bad"], ["é", "<s>", "Paris"]]
)
async def test_labels_have_the_tokens_that_the_scorer_reads(
    labels: list[str], make: Callable[[], PreTrainedTokenizerBase]
) -> None:
    tokenizer = make()
    assert list(tokenised(tokenizer, BEFORE, labels).labels) == await scored(tokenizer, labels, SEPARATOR)


@pytest.mark.parametrize("make", [small, train_tokenizer])
@pytest.mark.parametrize("labels", [["True", "False"], ["Paris", "Rome in Italy"]])
async def test_all_spellings_have_the_tokens_that_the_scorer_reads_and_the_own_one_is_learned(
    labels: list[str], make: Callable[[], PreTrainedTokenizerBase]
) -> None:
    tokenizer = make()
    further = further_spellings(labels, all_spellings=True)
    found = tokenised(tokenizer, BEFORE, labels, spellings=further)
    own = tokenised(tokenizer, BEFORE, labels)
    assert (found.labels, own.others) == (own.labels, ())
    expected = await all_scored(tokenizer, labels, SEPARATOR)
    assert [{path for number, path in found.paths if number == label} for label in range(2)] == expected
    assert len(found.paths) > len(labels)


def test_a_label_whose_end_merges_with_the_separator_is_ended_by_the_merged_token() -> None:
    found = tokenised(characters(), "a", ["b.", "b.c"], "\n").labels
    assert [[WORDS[token] for token in label] for label in found] == [[" ", "b", ".\n"], [" ", "b", ".", "c"]]


def test_every_row_scores_as_the_service_scores_it() -> None:
    """Tokens, positions, padding and the chain rule: the same log-probabilities as through the embedded server."""
    language_model = load(Source(str(SMALL_MODEL), "cpu"))
    labels = ["True", "False", "1", "10"]
    prompts = [row["prompt"] for row in comparisons(6)] + ["<s> </s>", "x\n\nClaim: 1 + 1 = 2.\nI think this claim is"]
    rows = [Example(line, prompt, 0) for line, prompt in enumerate(prompts, 1)]
    known = RowTokenizer(language_model.tokenizer, language_model.context_tokens).prompts(rows, labels, SEPARATOR)
    ours = label_scores(language_model.module, known, lambda: None, 3)
    theirs = through_the_server(Engine(language_model, CacheLimits(8192, 64)), prompts, labels)
    for row, expected in enumerate(theirs):
        assert ours[row].tolist() == pytest.approx(expected, abs=2e-5)


def through_the_server(engine: Engine, prompts: list[str], labels: list[str]) -> list[tuple[float, ...]]:
    queries = tuple(Query(Row(row), prompt) for row, prompt in enumerate(prompts))

    async def score(url: str) -> list[tuple[float, ...]]:
        scorer = EmbeddedScorer("default", url, timeout_seconds=60)
        try:
            scores = await scorer.score(PromptTree("", queries), labels, separator=SEPARATOR)
        finally:
            await scorer.close()
        return [tuple(scores.log_probabilities[Row(row)]) for row in range(len(prompts))]

    with served(create_app(engine, Limits(8, 50))) as url:
        return asyncio.run(score(url))


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.sampled_from("aT 1\n.é<s>/'"), min_size=1, max_size=30).map("{}:".format))
def test_a_prompt_has_the_tokens_of_its_whole_text(text: str) -> None:
    tokenizer = train_tokenizer()
    own = PromptTokenizer(tokenizer)
    found = tokenised(tokenizer, text, ["True", "Paris"])
    assert list(found.ids) == own.encode(text)
    special = set(tokenizer.all_special_ids)
    assert special.isdisjoint(found.ids[len(own.before) :])
    assert all(special.isdisjoint(label) for label in found.labels)


def test_nothing_is_learned_behind_a_label() -> None:
    tokenizer = small()
    found = tokenised(tokenizer, BEFORE, ["True", "False"])
    assert [tokenizer.decode(list(label)) for label in found.labels] == [" True", " False"]


def test_a_label_merged_with_its_prompt_is_refused_by_its_line() -> None:
    merging = Tokenizer(models.BPE({"a": 0, " ": 1, "b": 2, "c": 3, "a ": 4}, [("a", " ")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=merging)  # type: ignore[no-untyped-call]  # as transformers has it
    assert tokenised(tokenizer, "c", ["b", "c"])
    with pytest.raises(Refused) as refused:
        tokenised(tokenizer, "a", ["b", "c"])
    assert str(refused.value) == (
        "examples, line 7: the tokenizer merges the label 'b' with the text before it; "
        "take other labels, or let prompts end differently"
    )


def test_labels_of_the_same_tokens_are_refused() -> None:
    with pytest.raises(Refused, match="line 7: the labels"):
        tokenised(small(), BEFORE, ["True", "True"], "")


def test_a_row_as_long_as_the_context_is_taken_and_one_token_more_is_not() -> None:
    tokenizer, row = small(), Example(3, BEFORE, 0)
    needed = len(tokenised(tokenizer, BEFORE, ["True", "False"]).ids) + 1
    assert RowTokenizer(tokenizer, needed).prompts([row], ["True", "False"], "")
    with pytest.raises(Refused, match=f"line 3: prompt: takes {needed} tokens, and the language model reads"):
        RowTokenizer(tokenizer, needed - 1).prompts([row], ["True", "False"], "")
    with pytest.raises(Refused, match="line 4: chosen: takes"):
        RowTokenizer(tokenizer, 3).text(4, "chosen", BEFORE)
