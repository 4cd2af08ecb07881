"""Counts the cost of a search under three ways of prompting, without computing any of it.

Algorithm 1 rescores every labelled row after each change, which at 256 rows takes hours on
a CPU. How many tokens that is depends on the scores only through the search's path, so here
the search is driven by scores that are looked up: each row's log-probabilities behind gold
labels, behind inverted ones and alone (computed once), mixed by how far the demonstrations
in a prompt agree with gold. The tokens of every prompt are counted:

- as sent: every prompt is computed whole;
- fixed order: demonstrations stand in the rows' order, and a prefix cache holds what the
  evaluation before this one has read;
- divide and conquer: the prompt trees as planned, and a prefix cache as large as the embedded
  server's, that forgets what was used longest ago.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.local import LocalScorer, resolve
from benchmarks.measures import mean_demonstration_tokens
from service.identifiers import Label, Row
from service.search.engine import Search
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores
from service.search.predictions.scores import normalized
from service.search.prompting import evaluation, planner
from service.search.state.problem import Problem
from service.search.state.steps import Strategy, ask, trees_of

_ALONE_NATS = 2.0  # how strongly a row's score without demonstrations counts, against one nat per demonstration
Symbol = tuple[Row, Label]  # a demonstration


def count(problem: Problem, gold: Mapping[Row, Label], strategy: Strategy, scorer: LocalScorer) -> dict[str, float]:
    """Run a search on looked-up scores; tokens per row in units of L for each way of prompting."""
    counter = Counter(problem, Lookup.of(problem, gold, scorer), scorer.count, ModelledCache(scorer.cache_tokens))
    running = Search(problem, strategy)
    while (request := running.ask()) is not None:
        running.tell([counter.answer(tree) for tree in trees_of(request)])
    length = mean_demonstration_tokens(problem, scorer)
    unit = length * len(problem.rows)
    return {
        "demonstration_tokens": round(length, 3),
        "prompts_per_row": counter.prompts / len(problem.rows),
        "sent": counter.sent / unit,
        "fixed_order": counter.fixed_order / unit,
        "computed": counter.cache.computed / unit,
    }


@dataclass(frozen=True)
class Lookup:
    """Scores of every row behind gold labels, behind inverted ones, and alone."""

    gold: Mapping[Row, Label]
    scores: Mapping[Row, tuple[LogProbabilities, LogProbabilities, LogProbabilities]]

    @classmethod
    def of(cls, problem: Problem, gold: Mapping[Row, Label], scorer: LocalScorer) -> "Lookup":
        """Compute the scores."""
        inverted = {row: Label(1 - label) for row, label in gold.items()}
        [right, wrong] = resolve(evaluation.leave_one_out(problem, gold, inverted), scorer)
        [alone] = resolve(ask(planner.behind(problem, (), {}, problem.rows)), scorer)
        return cls(gold, {row: (right.scores[row], wrong.scores[row], alone[row]) for row in problem.rows})

    def mix(self, row: Row, agreeing: int, differing: int) -> LogProbabilities:
        """The row's score behind `agreeing` demonstrations with gold labels and `differing` ones with other labels."""
        weights = normalized((float(agreeing), float(differing), _ALONE_NATS))
        return normalized(
            tuple(
                math.log(sum(math.exp(weight + value) for weight, value in zip(weights, values, strict=True)))
                for values in zip(*self.scores[row], strict=True)
            )
        )


class ModelledCache:
    """Counts the tokens that a prefix cache of this capacity would compute, demonstration by demonstration."""

    def __init__(self, capacity: int) -> None:
        self.computed = 0
        self._room = capacity
        self._held: dict[int, int] = {}  # tokens by path, the most recently used last

    def read(self, path: int, what: tuple[int, ...], length: int, *, last: int = 0) -> int:
        """Extend a path; returns the new path. `last` tokens are computed even if the cache holds all."""
        path = hash((path, *what))
        if (held := self._held.pop(path, None)) is None:
            self.computed += length
            self._room -= length
        else:
            self.computed += last
            length = held
        self._held[path] = length
        while self._room < 0:
            self._room += self._held.pop(next(iter(self._held)))
        return path


@dataclass
class Counter:
    """Answers trees from a lookup and adds up the tokens of each way of prompting."""

    problem: Problem
    lookup: Lookup
    tokens_of: Callable[[str], int]
    cache: ModelledCache
    prompts: int = 0
    sent: int = 0
    fixed_order: int = 0
    _lengths: dict[str, int] = field(default_factory=dict)
    _symbols: dict[str, Symbol] = field(default_factory=dict)
    _cached: list[Symbol] = field(default_factory=list)  # the labelling that was evaluated last, in the rows' order

    def __post_init__(self) -> None:
        """Index the demonstrations by their text."""
        for row in self.problem.rows:
            for label in self.problem.label_range:
                text = self.problem.demonstration(row, label).removesuffix(self.problem.separator)
                self._symbols[text] = (row, label)

    def answer(self, tree: PromptTree) -> TreeScores:
        """The looked-up scores of a tree."""
        scores: dict[Row, LogProbabilities] = {}
        contexts: dict[Row, list[Symbol]] = {}
        for row, context, tokens in self._walk(tree, [], 0, 0):
            agreeing = sum(self.lookup.gold[other] == label for other, label in context)
            scores[row] = self.lookup.mix(row, agreeing, len(context) - agreeing)
            contexts[row] = context
            self.prompts += 1
            self.sent += tokens
        self._count_fixed_order(contexts)
        return TreeScores(scores)

    def _walk(
        self, tree: PromptTree, context: list[Symbol], path: int, tokens: int
    ) -> Iterator[tuple[Row, list[Symbol], int]]:
        """Every query's row, context and tokens, while the cache reads along; `path` names the context there."""
        run = [self._symbols[text] for text in tree.text.split(self.problem.separator)[:-1]]
        context = context + run
        for symbol in run:
            length = self._demonstration(symbol)
            path = self.cache.read(path, symbol, length)
            tokens += length
        for query in tree.queries:
            length = self._length(query.text)
            self.cache.read(path, (query.row,), length, last=1)
            yield query.row, context, tokens + length
        for child in tree.children:
            yield from self._walk(child, context, path, tokens)

    def _count_fixed_order(self, contexts: Mapping[Row, Sequence[Symbol]]) -> None:
        distinct = {len(context) for context in contexts.values()}
        labelled = {symbol for context in contexts.values() for symbol in context}
        is_evaluation = len(contexts) > 1 and all(row in dict(labelled) for row in contexts) and len(distinct) == 1
        demonstrations = sorted(labelled)
        known = _common_length(self._cached, demonstrations)
        if is_evaluation:
            self.fixed_order += self._evaluation(demonstrations, known)
            self._cached = demonstrations
        else:
            self.fixed_order += self._prediction(contexts, demonstrations)

    def _evaluation(self, demonstrations: Sequence[Symbol], known: int) -> int:
        """Every row behind all others: the prompt without row i shares its beginning up to row i with the one before.

        Up to the first place where the labelling differs from the one evaluated last,
        `known`, it shares even more with the prompt that left out the same row then.
        """
        lengths = [self._demonstration(symbol) for symbol in demonstrations]
        total = 0
        for place, (row, _) in enumerate(demonstrations):
            first_new = max(known, place - 1)
            if place == known < len(self._cached) and self._cached[place][0] == row:  # it leaves out the new symbol
                first_new = place + 1 + _common_length(self._cached[place + 1 :], demonstrations[place + 1 :])
            total += sum(lengths[first_new:]) - (lengths[place] if place >= first_new else 0)
            total += self._length(self.problem.texts[row])
        return total

    def _prediction(self, contexts: Mapping[Row, Sequence[Symbol]], demonstrations: Sequence[Symbol]) -> int:
        """Rows behind the same demonstrations; one that was labelled has had its prompt read already."""
        held = [symbol for symbol in self._cached if symbol[0] not in contexts]
        shared = _common_length(held, demonstrations)
        if len(held) == len(self._cached):
            shared = min(shared, max(0, len(held) - 1))  # no prompt so far has held all of them
        new = sum(self._demonstration(symbol) for symbol in demonstrations[shared:])
        return new + sum(self._length(self.problem.texts[row]) for row in contexts)

    def _demonstration(self, symbol: Symbol) -> int:
        return self._length(self.problem.demonstration(*symbol))

    def _length(self, text: str) -> int:
        length = self._lengths.get(text)
        if length is None:
            length = self._lengths[text] = self.tokens_of(text)
        return length


def _common_length(one: Sequence[Symbol], other: Sequence[Symbol]) -> int:
    """How many symbols two runs have in common from their start."""
    for place, (first, second) in enumerate(zip(one, other, strict=False)):
        if first != second:
            return place
    return min(len(one), len(other))
