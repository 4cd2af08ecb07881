"""Computes the utility of a labelling from its mutual predictability and its conflicts (arXiv 2506.10139, eq. 1, 2)."""

import math
from enum import StrEnum

from service.search.predictions.scores import Scores
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem


class Objective(StrEnum):
    """The quantity that a search maximises."""

    GAIN = "gain"  # information gain: how much better labels are predicted than from the label shares alone
    UTILITY = "utility"  # U(D) of arXiv 2506.10139, eq. 2


def mutual_predictability(problem: Problem, labels: Labels, scores: Scores) -> float:
    """P(D), eq. 1: log p(y_i | x_i, D without i) over the labelled rows, nats; the mean, or the sum as in the paper."""
    mean = mean_log_probability(labels, scores)
    return mean if problem.parameters.mean else mean * len(labels)


def mean_log_probability(labels: Labels, scores: Scores) -> float:
    """The mean over rows of log p(own label), nats; 0 if there are no rows."""
    own = [scores[row][label] for row, label in labels.items()]
    return math.fsum(own) / len(own) if own else 0.0


def utility(problem: Problem, labels: Labels, scores: Scores) -> float:
    """U(D) = alpha P(D) - I(D), eq. 2."""
    predictability = mutual_predictability(problem, labels, scores)
    return problem.parameters.alpha * predictability - len(problem.constraints.conflicts(labels))
