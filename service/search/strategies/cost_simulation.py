"""Predicts the cost of a search by running it on made-up scores, without a backend, and counting its prompts.

A search decides by its scores how often it sweeps and which rows it scores again. So no formula
gives its cost, but any plausible scores lead to about as many prompts.
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

DOUBTFUL_SHARE = 0.1  # share of the rows whose scores vary with the prompt
WAVERING_NATS = 0.3  # standard deviation of that variation
CERTAINTY_NATS = 3.0  # margin of the likeliest label of all other rows
_BREAK = "\n"  # separates the made-up demonstrations, whose text is the row's number and label


@dataclass(frozen=True, slots=True)
class CostSimulation:
    """The cost of a simulated search with an ideal prefix cache, and its panel for later shards, if it fits one."""

    usage: Usage
    panel: Panel | None = None


def never_cancelled() -> None:
    """The `check_wanted` of a caller that never cancels."""


def simulate_search(
    strategy: Strategy,
    problem: Problem,
    *,
    lead_tokens: int,
    tail_tokens: int,
    check_wanted: Callable[[], None] = never_cancelled,
) -> CostSimulation:
    """Run the search of such a problem on made-up scores and count its cost.

    `lead_tokens` is the length of the beginning that all texts share, `tail_tokens` that of a label
    with its separator, which a query lacks. `check_wanted` may raise an error between two requests to end
    the simulation.
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
    """A problem with rows of these lengths and one rule: at most one row of a group has the first label.

    Known rows have made-up labels that break no rule, since their choice hardly affects the cost.
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
    """A node of the ideal prefix cache: the demonstrations and the row texts that it holds behind one prefix."""

    read: dict[str, "_Prefix"] = field(default_factory=dict)
    texts: set[Row] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Place:
    """The scorer's position in a prompt tree: the cached prefix, its length in tokens, and a hash of its text."""

    prefix: _Prefix
    tokens: int = 0
    text: int = 0


class _MadeUpScorer:
    """Prefers one fixed label per row; for the doubtful share of the rows the preference varies with the prompt."""

    def __init__(self, problem: Problem, lead_tokens: int, tail_tokens: int) -> None:
        self._tokens = problem.demonstration_tokens
        self._lead = lead_tokens
        self._tail = tail_tokens
        self._classes = problem.classes
        self._root = _Prefix()
        self._preferred = _consistent_labels(problem)

    def answer(self, request: Request | Trainings) -> list[TreeScores]:
        """Scores and cost of all trees, or of all trainings."""
        if isinstance(request, Trainings):
            return [self.trained(training) for training in request.requests]
        return [self.score(tree) for tree in request]

    def trained(self, training: TrainAndScore) -> TreeScores:
        """Scores and cost of a training: every example is read once in each epoch, every query once."""
        text = zlib.crc32(str([(example.row, example.label) for example in training.examples]).encode())
        read = sum(max(1, self._tokens[query.row] - self._tail) for query in training.queries)
        learned = training.epochs * sum(self._tokens[example.row] for example in training.examples)
        usage = Usage(len(training.queries), learned + read, learned + read, True, 1, learned)  # noqa: FBT003 - modelled
        return TreeScores({query.row: self._scores(query.row, text) for query in training.queries}, usage)

    def score(self, tree: PromptTree) -> TreeScores:
        """Score a tree; its cost takes into account all that the prefix cache holds from earlier trees."""
        scores: dict[Row, LogProbabilities] = {}
        return TreeScores(scores, self._visit(tree, _Place(self._root), scores))

    def _visit(self, tree: PromptTree, place: _Place, scores: dict[Row, LogProbabilities]) -> Usage:
        place, computed = self._read(tree.text, place)
        usage = Usage(tokens_computed=computed, modelled=True)
        for query in tree.queries:
            length = max(1, self._tokens[query.row] - self._tail)
            computed = self._new_tokens(query.row, place.prefix) or 1  # a server always computes a prompt's last token
            usage += Usage(1, place.tokens + length, computed, modelled=True)
            scores[query.row] = self._scores(query.row, place.text)
        for child in tree.children:
            usage += self._visit(child, place, scores)
        return usage

    def _read(self, text: str, place: _Place) -> tuple[_Place, int]:
        """The position behind these demonstrations, and how many of their tokens the cache did not hold."""
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
        """How many tokens of a row's text the cache does not hold behind this prefix; adds the text to the cache."""
        if row in prefix.texts:
            return 0
        lead = self._lead if prefix.texts else 0
        prefix.texts.add(row)
        return max(1, self._tokens[row] - self._tail - lead)

    def _scores(self, row: Row, text: int) -> LogProbabilities:
        of_row, of_prompt = Random(f"{row}"), Random(f"{row} {text}")
        if of_row.random() >= DOUBTFUL_SHARE:
            return tuple(0.0 if label == self._preferred[row] else -CERTAINTY_NATS for label in range(self._classes))
        return tuple(of_row.gauss(0.0, 1.0) + of_prompt.gauss(0.0, WAVERING_NATS) for _ in range(self._classes))


def _consistent_labels(problem: Problem) -> Mapping[Row, Label]:
    """A label for each row, such that at most one row of each group has the first label."""
    rng, labels = Random(0), dict[Row, Label]()
    for group in problem.groups:
        labels |= {row: Label(rng.randrange(1, problem.classes)) for row in group}
        if rng.random() < 1 / problem.classes or len(group) > 1:
            labels[rng.choice(group)] = Label(0)
    return labels
