"""Information gain of a labelling, the objective of strategy `folds` unless the paper's utility is asked for.

The paper's utility is highest, near 0, where every row has the same label: each label is then
certain to follow the others. What such a labelling says is nothing. The gain

    G(D) = P(D) + H(D),   P(D) = mean over rows of log p(y_i | x_i, D without i),   H(D) = entropy of the labels

counts, in nats a row, what text and demonstrations tell of a label beyond the shares: 0 for one label
everywhere, below 0 for noise. Where relations fix the shares, H is constant and G is the paper's objective.
P is measured on views (views.py), each calibrated to the labelling's shares beforehand (calibration.py): a
language model that leans towards a label would otherwise be charged for leaning, not for knowing little.
"""

import math
from collections.abc import Sequence

from service.search.predictions.calibration import calibrated, label_entropy, label_shares
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem

LEAST_WEIGHT = 0.01  # nats; of a view that tells nothing, so that there is a mean where no view tells anything


def gain(labels: Labels, scores: Scores, classes: int) -> float:
    """G of the labels by one view's scores, nats a row; rows without scores are left out, 0 of nothing."""
    rows = [row for row in labels if row in scores]
    if not rows:
        return 0.0
    shares = label_shares(labels, rows, classes)
    told = calibrated({row: scores[row] for row in rows}, shares)
    return math.fsum(told[row][labels[row]] for row in rows) / len(rows) + label_entropy(labels, rows, shares)


def mean_gain(labels: Labels, views: Sequence[Scores], classes: int) -> float:
    """The mean of the views' gains, nats a row."""
    return math.fsum(gain(labels, scores, classes) for scores in views) / max(1, len(views))


def gain_utility(problem: Problem, labels: Labels, gain_nats: float) -> float:
    """alpha G(D) - I(D): eq. 2 with the gain in the place of mutual predictability."""
    return problem.parameters.alpha * gain_nats - len(problem.constraints.conflicts(labels))


def gain_of(problem: Problem, labels: Labels, gained: float) -> float:
    """G of a labelling by its `gain_utility`, nats a row: what its conflicts have cost is given back."""
    return (gained + len(problem.constraints.conflicts(labels))) / problem.parameters.alpha


def view_weight(labels: Labels, scores: Scores, classes: int) -> float:
    """How far to trust a view: by the gain of the labels there, nats."""
    return max(LEAST_WEIGHT, gain(labels, scores, classes))
