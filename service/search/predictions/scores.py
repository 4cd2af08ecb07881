"""Scores: the log-probabilities of each row's labels, with the likeliest label and the margin of a row."""

import math
from collections.abc import Mapping, Sequence

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities

Scores = Mapping[Row, LogProbabilities]


def normalized(log_probabilities: LogProbabilities) -> LogProbabilities:
    """The log-probabilities renormalized over the label set, nats.

    The probability of other continuations says nothing about which label is right. Without it,
    servers that renormalize over a grammar agree with servers that do not.
    """
    normalizer = log_of_sum(log_probabilities)
    return tuple(value - normalizer for value in log_probabilities)


def log_of_sum(logarithms: Sequence[float]) -> float:
    """log(sum(exp(logarithms))), without overflow."""
    if len(logarithms) == 1:
        return logarithms[0]
    top = max(logarithms)
    return top + math.log(sum(math.exp(value - top) for value in logarithms))


def likeliest(log_probabilities: LogProbabilities) -> Label:
    """argmax_y p(y | x, D), Algorithm 1 line 6; the first of equal labels."""
    return Label(max(range(len(log_probabilities)), key=log_probabilities.__getitem__))


def likeliest_each(scores: Scores) -> dict[Row, Label]:
    """The likeliest label of each row."""
    return {row: likeliest(log_probabilities) for row, log_probabilities in scores.items()}


def margin(log_probabilities: LogProbabilities, label: Label) -> float:
    """The label's log-probability less the best of the others, nats; negative if another is likelier."""
    return log_probabilities[label] - max(v for other, v in enumerate(log_probabilities) if other != label)
