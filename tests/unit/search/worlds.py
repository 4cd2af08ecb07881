"""Toy language models with biases and errors, some of which learn nothing from demonstrations."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import normalized
from tests.toy import ToyWorld


@dataclass(frozen=True)
class Reader(ToyWorld):
    """A toy language model with the given faults; without faults it is right about every row."""

    home: float = 1.5  # how much the first impression of a row prefers one label, nats
    lean: float = 0.0  # added to the first label in every prompt, nats
    right: float = 1.0  # share of rows whose first impression is their planted label
    pull: float = 0.2  # how much a demonstration moves a row, times a strength with a mean of 0.6 nats
    first_share: float = 0.5  # of the rows, with the first label
    spread: float = 0.0  # standard deviation of what a row's text adds to a label's score in every prompt, nats

    @cached_property
    def planted(self) -> dict[Row, Label]:
        """The planted labels: the first label has its share, the others are dealt out evenly."""
        if self.related:
            return super().planted
        first = round(self.first_share * self.rows)
        others = [1 + number % (self.classes - 1) for number in range(self.rows - first)]
        labels = Random(self.seed).sample([0] * first + others, self.rows)
        return {Row(row): Label(label) for row, label in enumerate(labels)}

    @cached_property
    def impressions(self) -> dict[Row, Label]:
        """The label of each row's first impression."""
        wrong = set(Random(self.seed + 2).sample(range(self.rows), round((1 - self.right) * self.rows)))
        return {row: Label((label + (row in wrong)) % self.classes) for row, label in self.planted.items()}

    def log_probabilities(self, row: Row, others: Mapping[Row, Label]) -> LogProbabilities:
        """log p(label of the row | labels of others), nats."""
        logits = [self.lean * (label == 0) + self.home * (label == self.impressions[row]) for label in self.labels]
        logits = [logit + own for logit, own in zip(logits, self.texts[row], strict=True)]
        for other, label in others.items():
            shift = label - self.planted[other]
            logits[(self.planted[row] + shift) % self.classes] += self.pull * self.strength[other, row]
        return normalized(tuple(logits))

    @cached_property
    def texts(self) -> dict[Row, list[float]]:
        """What each row's text adds to the score of each label, nats."""
        rng = Random(self.seed + 3)
        return {row: [rng.gauss(0, self.spread) for _ in self.labels] for row in self.planted}

    @property
    def labels(self) -> range:
        """Every label."""
        return range(self.classes)

    def share_right(self, labels: Mapping[Row, Label]) -> float:
        """The share of rows with their planted label."""
        return sum(labels[row] == label for row, label in self.planted.items()) / self.rows

    def share_told_apart(self, labels: Mapping[Row, Label]) -> float:
        """The share right if each label found may stand for another."""
        pairs = Counter((found, self.planted[row]) for row, found in labels.items())
        return sum(max(pairs[Label(a), Label(b)] for b in self.labels) for a in self.labels) / self.rows


@dataclass(frozen=True)
class Deaf(Reader):
    """A language model with a first impression, which answers at random after demonstrations."""

    def log_probabilities(self, row: Row, others: Mapping[Row, Label]) -> LogProbabilities:
        """log p(label of the row | labels of others), nats."""
        if not others:
            return super().log_probabilities(row, others)
        rng = Random(f"{self.seed} {row} {sorted(others.items())}")
        return normalized(tuple(rng.gauss(0, 2) for _ in self.labels))


@dataclass(frozen=True)
class Swapped(Reader):
    """A language model that takes the first label's word for the second's in every prompt."""

    @cached_property
    def impressions(self) -> dict[Row, Label]:
        """The label of each row's first impression, by the wrong word."""
        exchange = {0: Label(1), 1: Label(0)}
        return {row: exchange.get(label, label) for row, label in self.planted.items()}
