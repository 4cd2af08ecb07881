"""Runs a search on made-up scores to find out what the real one will cost: the same prompts, no backend.

A search decides by its scores how often it sweeps and what it asks again, so that no formula
tells its cost; but any scores of the usual kind make it ask for about as much.
"""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from service.identifiers import Label, Row
from service.search.engine import Search
from service.search.predictions.panel import Panel
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage
from service.search.predictions.training import TrainAndScore, Trainings
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Parameters, Problem
from service.search.state.steps import Request, Strategy

DOUBTFUL_SHARE = 0.1  # of the rows, whose label depends on what stands before
WAVERING_NATS = 0.3  # by how much it does
CERTAINTY_NATS = 3.0  # by which the other rows' labels are likelier
_BREAK = "\n"  # between the made-up demonstrations, whose text is the row's number and label


@dataclass(frozen=True, slots=True)
class CostSimulation:
    """What the search costs with an ideal prefix cache, and the panel it has for later shards, if it makes one."""

    usage: Usage
    panel: Panel | None = None


def nobody_has_left() -> None:
    """For whoever cannot leave."""


def rehearsed(
    strategy: Strategy,
    problem: Problem,
    *,
    lead_tokens: int,
    tail_tokens: int,
    check_wanted: Callable[[], None] = nobody_has_left,
) -> CostSimulation:
    """The search of such a problem.

    `lead_tokens` is the length of what all texts begin with, `tail_tokens` that of a label
    with its separator, which a query does not have. What `check_wanted` raises ends it between two steps.
    """
    scorer = _MadeUpScorer(problem, lead_tokens, tail_tokens)
    search, usage = Search(problem, strategy), Usage(modelled=True)
    while (request := search.ask()) is not None:
        check_wanted()
        answer = scorer.answer(request)
        usage = sum((scores.usage for scores in answer), usage)
        search.tell(answer)
    return CostSimulation(usage, search.state.panel)


def made_up_problem(
    groups: Sequence[int],
    tokens: Sequence[int],
    classes: int,
    parameters: Parameters,
    budget_tokens: int | None,
    *,
    known: Collection[Row] = (),
) -> Problem:
    """A problem with rows of these lengths; of each group at most one has the first label.

    Known rows have made-up labels that break no rule: what they are changes the cost but little.
    """
    rows = list(map(Row, range(len(tokens))))
    members: dict[int, list[Row]] = {}
    for row, group in zip(rows, groups, strict=True):
        members.setdefault(group, []).append(row)
    rules = [
        Constraint(Rule.AT_MOST_ONE, tuple((row,) for row in group), Label(0))
        for group in members.values()
        if len(group) > 1
    ]
    problem = Problem(
        texts={row: str(row) for row in rows},
        labels=tuple(map(str, range(classes))),
        separator=_BREAK,
        constraint_list=rules,
        demonstration_tokens=dict(zip(rows, tokens, strict=True)),
        budget_tokens=budget_tokens,
        parameters=parameters,
    )
    labels = _consistent_labels(problem)
    return replace(problem, known={row: labels[row] for row in rows if row in known})


@dataclass(slots=True)
class _Prefix:
    """A run of demonstrations that an ideal prefix cache holds, and the rows whose text it holds behind them."""

    read: dict[str, "_Prefix"] = field(default_factory=dict)
    texts: set[Row] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a tree the scorer is: the cached prefix, its length in tokens, and a number that stands for its text."""

    prefix: _Prefix
    tokens: int = 0
    text: int = 0


class _MadeUpScorer:
    """Holds one label of each row for likely; of a few rows it is unsure and may change its mind."""

    def __init__(self, problem: Problem, lead_tokens: int, tail_tokens: int) -> None:
        self._tokens = problem.demonstration_tokens
        self._lead = lead_tokens
        self._tail = tail_tokens
        self._classes = problem.classes
        self._root = _Prefix()
        self._held = _consistent_labels(problem)

    def answer(self, request: Request | Trainings) -> list[TreeScores]:
        """Scores and cost of all trees, or of all trainings."""
        if isinstance(request, Trainings):
            return [self.trained(asked) for asked in request.asked]
        return [self.score(tree) for tree in request]

    def trained(self, asked: TrainAndScore) -> TreeScores:
        """Scores and cost of a training: every example is read once in each epoch, every query once."""
        text = zlib.crc32(str([(example.row, example.label) for example in asked.examples]).encode())
        read = sum(max(1, self._tokens[query.row] - self._tail) for query in asked.queries)
        learned = asked.epochs * sum(self._tokens[example.row] for example in asked.examples)
        usage = Usage(len(asked.queries), learned + read, learned + read, True, 1, learned)  # noqa: FBT003 - modelled
        return TreeScores({query.row: self._scores(query.row, text) for query in asked.queries}, usage)

    def score(self, tree: PromptTree) -> TreeScores:
        """Scores and cost of a tree, behind everything that was read before."""
        scores: dict[Row, LogProbabilities] = {}
        return TreeScores(scores, self._visit(tree, _Place(self._root), scores))

    def _visit(self, tree: PromptTree, place: _Place, scores: dict[Row, LogProbabilities]) -> Usage:
        place, computed = self._read(tree.text, place)
        usage = Usage(tokens_computed=computed, modelled=True)
        for query in tree.queries:
            length = max(1, self._tokens[query.row] - self._tail)
            computed = self._new_tokens(query.row, place.prefix) or 1  # a prompt's last token always is
            usage += Usage(1, place.tokens + length, computed, modelled=True)
            scores[query.row] = self._scores(query.row, place.text)
        for child in tree.children:
            usage += self._visit(child, place, scores)
        return usage

    def _read(self, text: str, place: _Place) -> tuple[_Place, int]:
        """The place behind these demonstrations, and how many tokens of them were new."""
        computed = 0
        for demonstration in text.split(_BREAK)[:-1]:
            row = Row(int(demonstration.split()[0]))
            if demonstration not in place.prefix.read:
                place.prefix.read[demonstration] = _Prefix()
                computed += self._new_tokens(row, place.prefix) + self._tail
            tokens, number = place.tokens + self._tokens[row], zlib.crc32(demonstration.encode(), place.text)
            place = replace(place, prefix=place.prefix.read[demonstration], tokens=tokens, text=number)
        return place, computed

    def _new_tokens(self, row: Row, prefix: _Prefix) -> int:
        """How much of a row's text is not held behind this prefix; from now on all of it is."""
        if row in prefix.texts:
            return 0
        lead = self._lead if prefix.texts else 0
        prefix.texts.add(row)
        return max(1, self._tokens[row] - self._tail - lead)

    def _scores(self, row: Row, text: int) -> LogProbabilities:
        of_row, of_prompt = Random(f"{row}"), Random(f"{row} {text}")
        if of_row.random() >= DOUBTFUL_SHARE:
            return tuple(0.0 if label == self._held[row] else -CERTAINTY_NATS for label in range(self._classes))
        return tuple(of_row.gauss(0.0, 1.0) + of_prompt.gauss(0.0, WAVERING_NATS) for _ in range(self._classes))


def _consistent_labels(problem: Problem) -> Mapping[Row, Label]:
    """A label for each row, the first one for one row of each group at most."""
    rng, labels = Random(0), dict[Row, Label]()
    for group in problem.groups:
        labels |= {row: Label(rng.randrange(1, problem.classes)) for row in group}
        if rng.random() < 1 / problem.classes or len(group) > 1:
            labels[rng.choice(group)] = Label(0)
    return labels
