"""Predicts the cost of a search by running it on made-up scores, without a backend, and counting its prompts.

A search decides by its scores how often it sweeps and which rows it scores again. So no formula gives its cost:
where the language model is sure of most labels, a search settles soon; where labels mean little to it, labels change
from sweep to sweep, which takes half as many prompts more.
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
from service.search.state.steps import Phase, Request, State, Strategy

_BREAK = "\n"  # separates the made-up demonstrations, whose text is the row's number and label


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """How sure a made-up language model is of its labels."""

    doubtful_share: float  # share of the rows whose scores vary with the prompt
    wavering_nats: float  # standard deviation of that variation
    margin_nats: float  # of the likeliest label of all other rows


SURE = Certainty(doubtful_share=0.1, wavering_nats=0.3, margin_nats=3.0)
UNSURE = Certainty(doubtful_share=1.0, wavering_nats=0.5, margin_nats=0.0)  # hardly any sweep settles


@dataclass(frozen=True, slots=True)
class CostSimulation:
    """The cost of a simulated search with an ideal prefix cache, and its panel for later shards, if it fits one.

    `most` is the cost if the search then turns its labelling around, sweeps it as often as the last start's and audits
    it again; None where the rule of the strategy does not tell.
    """

    usage: Usage
    panel: Panel | None = None
    most: Usage | None = None


def never_cancelled() -> None:
    """The `check_wanted` of a caller that never cancels."""


def simulate_search(
    strategy: Strategy,
    problem: Problem,
    *,
    lead_tokens: int,
    tail_tokens: int,
    certainty: Certainty = SURE,
    check_wanted: Callable[[], None] = never_cancelled,
) -> CostSimulation:
    """Run the search of such a problem on made-up scores and count its cost.

    `lead_tokens` is the length of the beginning that all texts share, `tail_tokens` that of a label
    with its separator, which a query lacks. `check_wanted` may raise an error between two requests to end
    the simulation.
    """
    scorer = _MadeUpScorer(problem, lead_tokens, tail_tokens, certainty)
    search, usage, again = Search(problem, strategy), Usage(modelled=True), Usage(modelled=True)
    while (request := search.ask()) is not None:
        check_wanted()
        before, answer = search.state, scorer.answer(request)
        asked = sum((scores.usage for scores in answer), Usage(modelled=True))
        search.tell(answer)
        usage, again = usage + asked, (again + asked if _is_done_again(before) else again)
        if len(search.state.starts) > len(before.starts) and search.state.phase is Phase.SWEEP:
            again = Usage(modelled=True)  # another start begins: the sweeps of the last one count
    return CostSimulation(usage, search.state.panel, usage if search.state.turned else usage + again)


def _is_done_again(state: State) -> bool:
    """Whether a search that turns its labelling around repeats the step of this state; it turns one only once."""
    return state.phase in {Phase.SWEEP, Phase.AUDIT} and not state.turned


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

    def __init__(self, problem: Problem, lead_tokens: int, tail_tokens: int, certainty: Certainty) -> None:
        self._certainty = certainty
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
        if of_row.random() >= self._certainty.doubtful_share:
            other = -self._certainty.margin_nats
            return tuple(0.0 if label == self._preferred[row] else other for label in range(self._classes))
        wavering = self._certainty.wavering_nats
        return tuple(of_row.gauss(0.0, 1.0) + of_prompt.gauss(0.0, wavering) for _ in range(self._classes))


def _consistent_labels(problem: Problem) -> Mapping[Row, Label]:
    """A label for each row, such that at most one row of each group has the first label."""
    rng, labels = Random(0), dict[Row, Label]()
    for group in problem.groups:
        labels |= {row: Label(rng.randrange(1, problem.classes)) for row in group}
        if rng.random() < 1 / problem.classes or len(group) > 1:
            labels[rng.choice(group)] = Label(0)
    return labels
