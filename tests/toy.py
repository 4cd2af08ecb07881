"""A toy language model with a planted labelling, so small that a test finds its best labelling by trying all."""

import itertools
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TypeVar

from service.identifiers import Label, Row
from service.search.engine import Search
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage
from service.search.predictions.training import TrainAndScore, Trainings
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Parameters, Problem
from service.search.state.steps import Answer, Request, State, Strategy, trees_of

LABELS = ("True", "False", "Unknown", *(f"Label-{number}" for number in range(3, 20)))
T = TypeVar("T")


@dataclass(frozen=True)
class ToyWorld:
    """A world of rows that pull each other, with random strengths, towards agreement with the planted labels."""

    rows: int
    classes: int
    related: bool
    seed: int
    home: float = 0.0  # how much each row leans towards its planted label without demonstrations, nats

    @cached_property
    def planted(self) -> dict[Row, Label]:
        """The planted labels; twins have different ones."""
        rng = Random(self.seed)
        labels = {Row(row): Label(rng.randrange(self.classes)) for row in range(self.rows)}
        if self.related:
            for row in range(0, self.rows - 1, 2):
                first = rng.randrange(2)
                labels[Row(row)] = Label(0 if first else 1 + rng.randrange(self.classes - 1))
                labels[Row(row + 1)] = Label(1 + rng.randrange(self.classes - 1) if first else 0)
        return labels

    @cached_property
    def strength(self) -> dict[tuple[Row, Row], float]:
        """How strongly one row's label pulls another's, nats."""
        rng = Random(self.seed + 1)
        return {pair: rng.uniform(0.2, 1.0) for pair in itertools.permutations(map(Row, range(self.rows)), 2)}

    @property
    def constraints(self) -> list[Constraint]:
        """Exactly one of each pair of twins has the first label."""
        pairs = range(0, self.rows - 1, 2) if self.related else ()
        return [Constraint(Rule.EXACTLY_ONE, ((Row(row),), (Row(row + 1),)), Label(0)) for row in pairs]

    def problem(self, seed: int = 0, **parameters: object) -> Problem:
        """The world as a problem of the search."""
        return Problem(
            texts={Row(row): f"row {row}" for row in range(self.rows)},
            labels=LABELS[: self.classes],
            separator="\n",
            constraint_list=self.constraints,
            parameters=Parameters(seed=seed, **parameters),  # type: ignore[arg-type]  # fields of Parameters by name
        )

    def log_probabilities(self, row: Row, others: Mapping[Row, Label]) -> LogProbabilities:
        """log p(label of the row | labels of others), nats; the order of the others does not matter."""
        logits = [0.3 * (label == 0) + self.home * (label == self.planted[row]) for label in range(self.classes)]
        for other, label in others.items():
            shift = label - self.planted[other]
            logits[(self.planted[row] + shift) % self.classes] += self.strength[other, row]
        normalizer = math.log(sum(map(math.exp, logits)))
        return tuple(logit - normalizer for logit in logits)

    def utility(self, labels: Mapping[Row, Label], alpha: float = 50.0) -> float:
        """The utility U(D) by its definition, eq. 2."""
        own = [
            self.log_probabilities(row, {other: lab for other, lab in labels.items() if other != row})[label]
            for row, label in labels.items()
        ]
        broken = sum((labels[a] == 0) == (labels[b] == 0) for ((a,), (b,)) in (c.clusters for c in self.constraints))
        return alpha * sum(own) / len(own) - broken

    @cached_property
    def best_utility(self) -> float:
        """The highest utility of all labellings of all rows."""
        return max(
            self.utility(dict(zip(map(Row, range(self.rows)), map(Label, labels), strict=True)))
            for labels in itertools.product(range(self.classes), repeat=self.rows)
        )

    def answers(self, request: Request | Trainings) -> list[TreeScores]:
        """Answer all trees, or all trainings, of a request."""
        if isinstance(request, Trainings):
            return [self.trained(training) for training in request.requests]
        return [self.answer(tree) for tree in request]

    def trained(self, asked: TrainAndScore) -> TreeScores:
        """The scores of a training: learned rows count as much as demonstrations."""
        learned = {example.row: example.label for example in asked.examples}
        scores = {query.row: self.log_probabilities(query.row, learned) for query in asked.queries}
        return TreeScores(scores, Usage(len(scores), trainings=1, tokens_trained=asked.epochs * len(learned)))

    def answer(self, tree: PromptTree) -> TreeScores:
        """Score a tree by reading its prompts as a language model would: from their text alone."""
        scores = {row: self._read(prompt) for row, prompt in tree.prompts()}
        return TreeScores(scores, Usage(prompts=len(scores)))

    def _read(self, prompt: str) -> LogProbabilities:
        *demonstrations, query = prompt.split("\n")
        others = {}
        for demonstration in demonstrations:
            _, row, label = demonstration.split(" ")
            others[Row(int(row))] = Label(LABELS.index(label))
        return self.log_probabilities(Row(int(query.split(" ")[1])), others)


def drive(world: ToyWorld, problem: Problem, strategy: Strategy, state: State | None = None) -> list[State]:
    """Run a search to its end; returns its states, the first one included."""
    search = Search(problem, strategy, state)
    states = [search.state]
    while (request := search.ask()) is not None:
        if search.tell(world.answers(request)):
            states.append(search.state)
    return [*states, search.state]


def resolve(world: ToyWorld, asking: Generator[Request | Trainings, Answer, T]) -> T:
    """Answer the requests of a part of a search until it returns."""
    try:
        request = next(asking)
        while True:
            request = asking.send(world.answers(request))
    except StopIteration as end:
        result: T = end.value
        return result


def prompts(world: ToyWorld, problem: Problem, strategy: Strategy) -> list[tuple[Row, str]]:
    """All prompts of a search from beginning to end."""
    search, asked = Search(problem, strategy), list[tuple[Row, str]]()
    while (request := search.ask()) is not None:
        asked += [prompt for tree in trees_of(request) for prompt in tree.prompts()]
        search.tell(world.answers(request))
    return asked
