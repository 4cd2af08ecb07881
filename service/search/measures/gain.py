"""Computes the information gain of a labelling, the default objective of strategy `folds`.

The paper's utility is highest, near 0, if every row has the same label: the others then make each
label certain. But such a labelling carries no information. The gain

    G(D) = P(D) + H(D),   P(D) = mean over rows of log p(y_i | x_i, D without i),   H(D) = entropy of the labels

measures, in nats per row, how much better text and demonstrations predict a label than the label shares do:
0 for one label everywhere, below 0 for noise. If relations fix the shares, H is constant and maximising G is
maximising P as in the paper. P is measured on views (views.py), each first calibrated to the labelling's shares
(calibration.py): otherwise G would punish a language model's bias towards a label rather than its ignorance.
"""

import math
from collections.abc import Sequence

from service.search.predictions.calibration import calibrated, label_entropy, label_shares
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem

LEAST_WEIGHT = 0.01  # nats; for a view without any gain, so that views have a weighted mean even if none has a gain


def gain(labels: Labels, scores: Scores, classes: int) -> float:
    """G of the labels by one view's scores, nats per row; ignores rows without scores, 0 if there are none."""
    rows = [row for row in labels if row in scores]
    if not rows:
        return 0.0
    shares = label_shares(labels, rows, classes)
    predicted = calibrated({row: scores[row] for row in rows}, shares)
    return math.fsum(predicted[row][labels[row]] for row in rows) / len(rows) + label_entropy(labels, rows, shares)


def mean_gain(labels: Labels, views: Sequence[Scores], classes: int) -> float:
    """The mean of the views' gains, nats per row."""
    return math.fsum(gain(labels, scores, classes) for scores in views) / max(1, len(views))


def gain_utility(problem: Problem, labels: Labels, gain_nats: float) -> float:
    """alpha G(D) - I(D): eq. 2 with the gain in the place of mutual predictability."""
    return problem.parameters.alpha * gain_nats - len(problem.constraints.conflicts(labels))


def gain_of(problem: Problem, labels: Labels, gained: float) -> float:
    """G of a labelling from its `gain_utility`, nats per row: the inverse of that function."""
    return (gained + len(problem.constraints.conflicts(labels))) / problem.parameters.alpha


def view_weight(labels: Labels, scores: Scores, classes: int) -> float:
    """The weight of a view in a pooled prediction: the gain of the labels by its scores, nats."""
    return max(LEAST_WEIGHT, gain(labels, scores, classes))


def impression_weight(labels: Labels, impression: Scores, classes: int, others: Sequence[float]) -> float:
    """The weight of the first impression beside views of these weights, nats: never more than their mean.

    Labels that come from the impression agree with it whatever they are worth.
    """
    return min(view_weight(labels, impression, classes), sum(others) / len(others))
