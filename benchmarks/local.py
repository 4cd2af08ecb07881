"""Scores prompt trees in this process, through the embedded server's engine, and counts its cost."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from inference.engine import CacheLimits, packed_scorer
from inference.model.language_model import DtypeName, LanguageModel, Source, load, token_arrays
from inference.model.tokenization import PromptTokenizer
from service.identifiers import Row
from service.search.engine import Search
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Phase, Request, State, Strategy, trees_of

T = TypeVar("T")


class TreeScorer(Protocol):
    """Answers prompt trees; `usage` is the cost so far."""

    @property
    def usage(self) -> Usage:
        """Prompts and tokens so far."""

    def answer(self, request: Request) -> list[TreeScores]:
        """The scores of every tree."""

    def count(self, text: str) -> int:
        """Tokens of a text, without the special tokens around a prompt."""


class LocalScorer:
    """Answers prompt trees; `usage` counts from the start, or from `forget`, on.

    Raises ValueError for a language model that does not work with the prefix cache.
    """

    def __init__(self, language_model: LanguageModel, labels: Sequence[str]) -> None:
        self.tokenizer = PromptTokenizer(language_model.tokenizer)
        self.context_tokens = language_model.context_tokens
        self.usage = Usage()
        scorer = packed_scorer(language_model, CacheLimits())
        if scorer is None:
            raise ValueError(f"{language_model.name} works without a prefix cache only")
        self._scorer = scorer
        self._labels = [self._only_token(label) for label in labels]

    def answer(self, request: Request) -> list[TreeScores]:
        """The scores of every tree."""
        return [self._answer_tree(tree) for tree in request]

    @property
    def cache_tokens(self) -> int:
        """How many tokens the prefix cache holds."""
        return self._scorer.cache.capacity

    def forget(self) -> None:
        """Begin anew, with an empty prefix cache."""
        self._scorer.cache.clear()
        self.usage = Usage()

    def count(self, text: str) -> int:
        """Tokens of a text, without the special tokens around a prompt."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def _answer_tree(self, tree: PromptTree) -> TreeScores:
        rows, prompts = [], []
        for row, prompt in tree.prompts():
            rows.append(row)
            prompts.append(self.tokenizer.encode(prompt))
        answers = self._scorer.score(token_arrays(prompts))
        scores: dict[Row, LogProbabilities] = {
            row: tuple(answer.log_probabilities[self._labels].tolist())
            for row, answer in zip(rows, answers, strict=True)
        }
        usage = Usage(len(rows), sum(map(len, prompts)), sum(answer.computed for answer in answers))
        self.usage += usage
        return TreeScores(scores, usage)

    def _only_token(self, label: str) -> int:
        tokens = self.tokenizer.encode(f" {label}", add_special_tokens=False)
        if len(tokens) != 1:
            raise ValueError(f"the label {label!r} has {len(tokens)} tokens; here it needs to be one")
        return tokens[0]


@dataclass(frozen=True, slots=True)
class Found:
    """A search's last state, and its cost."""

    state: State
    usage: Usage


def load_model(folder: str, dtype: DtypeName = "auto") -> LanguageModel:
    """The language model of a folder or hub name."""
    return load(Source(folder, dtype=dtype))


def search(
    problem: Problem,
    strategy: Strategy,
    scorer: TreeScorer,
    *,
    state: State | None = None,
    until: Phase = Phase.DONE,
) -> Found:
    """Run a search until it is done, or comes to a phase."""
    before = scorer.usage
    running = Search(problem, strategy, state)
    while running.state.phase is not until and (request := running.ask()) is not None:
        running.tell(scorer.answer(trees_of(request)))
    return Found(running.state, _since(before, scorer.usage))


def resolve(asking: Generator[Request, Answer, T], scorer: TreeScorer) -> T:
    """Answer a generator of `service.search` until it returns."""
    try:
        request = next(asking)
        while True:
            request = asking.send(scorer.answer(request))
    except StopIteration as end:
        result: T = end.value
        return result


def _since(before: Usage, after: Usage) -> Usage:
    return Usage(
        after.prompts - before.prompts,
        after.tokens_sent - before.tokens_sent,
        after.tokens_computed - before.tokens_computed,
    )
