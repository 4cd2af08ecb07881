"""Measures how well one feature of the rows predicts the labels, by simple learners tested on held-out rows."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import TypeVar

from service.identifiers import Label

Value = TypeVar("Value", bound=Hashable)
Rule = Callable[[Value], Label | None]  # the predicted label; None without a prediction
Learner = Callable[[Sequence[tuple[Value, Label]]], Rule[Value]]
Span = tuple[int, int]  # a range of the sorted values: first index, and last index plus one

MOST_INTERVALS = 8  # upper limit of the intervals, even with more labels


def balanced_accuracy(
    values: Sequence[Value], labels: Sequence[Label], halves: Sequence[bool], learn: Learner[Value]
) -> float:
    """The mean over the labels of their recall by a rule that was learned on the other half of the rows.

    A rule that always predicts the commonest label scores 1 / number of labels, whatever its share; so does a
    rule without predictions.
    """
    counts = Counter(labels)
    right: dict[Label, float] = defaultdict(float)
    for half in (False, True):
        rule = learn([(values[i], labels[i]) for i in range(len(labels)) if halves[i] is not half])
        for i in range(len(labels)):
            if halves[i] is half:
                expected = rule(values[i])
                right[labels[i]] += 1 / len(counts) if expected is None else expected == labels[i]
    return sum(right[label] / rows for label, rows in counts.items()) / len(counts)


def learn_values(rows: Sequence[tuple[Value, Label]]) -> Rule[Value]:
    """Learn for each value its most frequent label, with rows weighted so that all labels count the same."""
    weights = _weights(rows)
    seen: dict[Value, Counter[Label]] = defaultdict(Counter)
    for value, label in rows:
        seen[value][label] += 1
    table = {value: _heaviest(counts, weights) for value, counts in seen.items()}
    return table.get


def learn_thresholds(rows: Sequence[tuple[float, Label]]) -> Rule[float]:
    """Learn intervals of the numbers, at most as many as labels, each with its label; for two labels one threshold."""
    ordered, weights = sorted(rows), _weights(rows)
    spans: list[Span] = [(0, len(ordered))] if ordered else []
    while spans and len(spans) < min(len(weights), MOST_INTERVALS):
        gain, at, span = max((*_best_split(ordered, span, weights), span) for span in spans)
        if gain <= 0:
            break
        spans.remove(span)
        spans += [(span[0], at), (at, span[1])]
    spans.sort()
    bounds = [ordered[start][0] for start, _ in spans[1:]]
    names = [_heaviest(Counter(label for _, label in ordered[start:end]), weights) for start, end in spans]
    return lambda value: names[bisect_right(bounds, value)] if names else None


def _weights(rows: Sequence[tuple[Value, Label]]) -> dict[Label, float]:
    counts = Counter(label for _, label in rows)
    return {label: 1 / count for label, count in counts.items()}


def _best_split(ordered: Sequence[tuple[float, Label]], span: Span, weights: dict[Label, float]) -> tuple[float, int]:
    """The best cut of the span: its gain in correctly predicted weight, and the first index of its right part."""
    rows = ordered[slice(*span)]
    before, behind = _running_best(rows, weights), _running_best(rows[::-1], weights)[::-1]
    cuts = [
        (before[cut] + behind[cut] - before[-1], span[0] + cut)
        for cut, (one, other) in enumerate(pairwise(value for value, _ in rows), start=1)
        if one < other
    ]
    return max(cuts, default=(0.0, span[0]))


def _running_best(rows: Sequence[tuple[float, Label]], weights: dict[Label, float]) -> list[float]:
    """The weight of the heaviest label among the first 0, 1, 2, ... rows."""
    totals: dict[Label, float] = defaultdict(float)
    best = [0.0]
    for _, label in rows:
        totals[label] += weights[label]
        best.append(max(best[-1], totals[label]))
    return best


def _heaviest(counts: Counter[Label], weights: dict[Label, float]) -> Label:
    return max(counts, key=lambda label: counts[label] * weights[label])
