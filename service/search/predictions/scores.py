"""Scores of rows: log-probabilities of their labels, and what follows from one row's alone."""

import math
from collections.abc import Mapping

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities

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


def likeliest(log_probabilities: LogProbabilities) -> Label:
    """argmax_y p(y | x, D), Algorithm 1 line 6; of equals the first."""
    return Label(max(range(len(log_probabilities)), key=log_probabilities.__getitem__))


def margin(log_probabilities: LogProbabilities, label: Label) -> float:
    """Nats from the label to the best of the others; negative where another is likelier."""
    return log_probabilities[label] - max(v for other, v in enumerate(log_probabilities) if other != label)
