"""Utility of a labelling: mutual predictability and logical consistency (arXiv 2506.10139, eq. 1 and 2)."""

import math
from collections.abc import Mapping

from service.identifiers import Label, Row
from service.search.consistency import Labels
from service.search.problem import Problem
from service.search.prompt_tree import LogProbabilities

Scores = Mapping[Row, LogProbabilities]


def normalized(log_probabilities: LogProbabilities) -> LogProbabilities:
    """Log-probabilities over the label set alone, nats.

    The probability mass a language model spends on other continuations says nothing about
    which label is right; without it, servers that renormalize over a grammar agree with
    servers that do not.
    """
    top = max(log_probabilities)
    normalizer = top + math.log(sum(math.exp(value - top) for value in log_probabilities))
    return tuple(value - normalizer for value in log_probabilities)


def mutual_predictability(problem: Problem, labels: Labels, scores: Scores) -> float:
    """P(D), eq. 1: log p(y_i | x_i, D without i) over the labelled rows, nats; their mean, or the sum as printed."""
    mean = mean_log_probability(labels, scores)
    return mean if problem.parameters.mean else mean * len(labels)


def mean_log_probability(labels: Labels, scores: Scores) -> float:
    """The mean over rows of log p(own label), nats; 0 of nothing."""
    own = [scores[row][label] for row, label in labels.items()]
    return math.fsum(own) / len(own) if own else 0.0


def utility(problem: Problem, labels: Labels, scores: Scores) -> float:
    """U(D) = alpha P(D) - I(D), eq. 2."""
    predictability = mutual_predictability(problem, labels, scores)
    return problem.parameters.alpha * predictability - len(problem.constraints.conflicts(labels))


def likeliest(log_probabilities: LogProbabilities) -> Label:
    """argmax_y p(y | x, D), Algorithm 1 line 6; of equals the first."""
    return Label(max(range(len(log_probabilities)), key=log_probabilities.__getitem__))


def margin(log_probabilities: LogProbabilities, label: Label) -> float:
    """Nats from the label to the best of the others; negative where another is likelier."""
    return log_probabilities[label] - max(v for other, v in enumerate(log_probabilities) if other != label)
