"""Labels rows that compare two texts by the rewards of the texts, with probabilities by Bradley and Terry.

The probability that `first` is better is sigmoid(reward(first) - reward(second)). A text has the same reward in all
rows of a shard, so twins never contradict each other, and comparisons are never circular.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from service.config import Task
from service.errors import RewardModelUnusable
from service.identifiers import Label, Row
from service.jobs.task.comparison import Compared, Comparer, comparison_of
from service.jobs.task.known import KnownLabels
from service.jobs.task.relations import compile_constraints
from service.records.jobs import ShardRow
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.state.problem import Problem


class Unlabelled(StrEnum):
    """Why a row has no label."""

    SAME = "the row compares nothing: a column of the comparison is blank, or both texts are the same"
    TIE = "both texts have the same reward"
    LONG = "a text is longer than the context of the reward model"


@dataclass(frozen=True)
class ComparedRows:
    """The rows of a shard, the two texts that each compares, and all distinct texts in a fixed order."""

    task: Task
    problem: Problem  # the rules between the rows, and known labels
    compared: Mapping[Row, Compared]  # without rows that compare nothing
    positive: Label  # means that `first` is better
    texts: Sequence[str]

    @classmethod
    def of(cls, task: Task, rows: Sequence[ShardRow]) -> "ComparedRows":
        """Read the rows. Raises RewardModelUnusable if the task compares nothing."""
        comparison = comparison_of(task)
        if comparison is None:
            raise RewardModelUnusable("the task has no relation antisymmetric, so its rows compare nothing")
        comparer = Comparer(task, comparison)
        fields = {row.position: orjson.loads(row.data) for row in rows}
        read = {row: comparer.of(cells) for row, cells in fields.items()}
        compared = {row: pair for row, pair in read.items() if pair is not None}
        rules = compile_constraints(task.relations, task.labels, fields, id_field=task.id_field)
        problem = Problem(
            texts=dict.fromkeys(fields, ""),
            labels=tuple(task.labels),
            constraint_list=tuple(rules),
            known=KnownLabels(task).of_rows(fields),
        )
        texts = tuple(dict.fromkeys(text for pair in compared.values() for text in pair.texts))
        return cls(task, problem, compared, comparer.positive, texts)

    def decided(self) -> dict[tuple[str, str], Label]:
        """The labels of comparisons that a known row decides, by their texts; its twin gets the opposite label."""
        labels: dict[tuple[str, str], Label] = {}
        for row, label in self.problem.known.items():
            if row in self.compared:
                first, second = self.compared[row].texts
                labels[first, second], labels[second, first] = label, self.other(label)
        return labels

    def other(self, label: Label) -> Label:
        """The opposite of a label."""
        return Label(1 - label)


@dataclass
class Labelling:
    """The labels by the rewards so far, the log-probabilities of both labels, and why other rows have no label."""

    labels: dict[Row, Label] = field(default_factory=dict)
    scores: dict[Row, LogProbabilities] = field(default_factory=dict)
    without: dict[Row, Unlabelled] = field(default_factory=dict)
    agreeing: int = 0  # known rows whose label the rewards predict


def labelling_of(shard: ComparedRows, rewarded: Mapping[str, float | None]) -> Labelling:
    """Label every row whose texts have rewards. A tie gives no label."""
    labelling, decided = Labelling(), shard.decided()
    for row in shard.problem.rows:
        known = shard.problem.known.get(row)
        compared = shard.compared.get(row)
        if compared is None:
            _keep(labelling, row, known, Unlabelled.SAME)
            continue
        if not all(text in rewarded for text in compared.texts):
            continue
        first, second = (rewarded[text] for text in compared.texts)
        label = known if known is not None else decided.get(compared.texts)
        if first is None or second is None:
            _keep(labelling, row, label, Unlabelled.LONG)
            continue
        likelier = _compare(shard, labelling, row, first - second)
        labelling.agreeing += known is not None and likelier == known
        _keep(labelling, row, likelier if label is None else label, Unlabelled.TIE)
    return labelling


def _keep(labelling: Labelling, row: Row, label: Label | None, why_not: Unlabelled) -> None:
    if label is None:
        labelling.without[row] = why_not
    else:
        labelling.labels[row] = label


def _compare(shard: ComparedRows, labelling: Labelling, row: Row, gap: float) -> Label | None:
    """Note both labels' log-probabilities in nats; return the likelier label, None for equal rewards."""
    better, worse = -_softplus(-gap), -_softplus(gap)
    labelling.scores[row] = (better, worse) if shard.positive == 0 else (worse, better)
    if gap == 0:
        return None
    return shard.positive if gap > 0 else shard.other(shard.positive)


def _softplus(value: float) -> float:
    """log(1 + exp(value)), for any value."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
