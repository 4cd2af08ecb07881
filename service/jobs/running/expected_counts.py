"""Sums a shard's probabilities, so that the report can estimate label shares (`reporting.population`)."""

import math
from collections.abc import Sequence

from service.identifiers import Label, Row
from service.search.predictions.scores import Scores
from service.search.state.problem import Problem


def expected_counts(problem: Problem, scores: Scores) -> dict[str, object]:
    """Sums that the report adds up over shards. A known row has its label for certain; unscored rows do not count.

    `groups` of related rows, `rows`, `size_squares` (sum of n_g^2 over groups of n_g rows), and for each label, with
    p the probability that a row has it and m_g the sum of p over a group: `expected` (sum of p), `variance`
    (sum of p (1 - p)), `squares` (sum of m_g^2), `products` (sum of m_g n_g).
    """
    groups = [[row for row in group if row in problem.known or row in scores] for group in problem.groups]
    groups = [group for group in groups if group]
    sizes = [len(group) for group in groups]
    return {
        "groups": len(groups),
        "rows": sum(sizes),
        "size_squares": sum(size**2 for size in sizes),
        "labels": [_of_label(problem, scores, groups, label) for label in problem.label_range],
    }


def _of_label(problem: Problem, scores: Scores, groups: Sequence[Sequence[Row]], label: Label) -> dict[str, float]:
    probabilities = [[_probability(problem, scores, row, label) for row in group] for group in groups]
    sums = [math.fsum(group) for group in probabilities]
    return {
        "expected": math.fsum(sums),
        "variance": math.fsum(p * (1 - p) for group in probabilities for p in group),
        "squares": math.fsum(m**2 for m in sums),
        "products": math.fsum(m * len(group) for m, group in zip(sums, groups, strict=True)),
    }


def _probability(problem: Problem, scores: Scores, row: Row, label: Label) -> float:
    known = problem.known.get(row)
    return math.exp(scores[row][label]) if known is None else float(known == label)
