"""Estimates the accuracy of labels without gold labels: by the share of rows on which two looks agree.

If the probabilities pooled from many looks were calibrated, two of the looks would disagree exactly as often as
one of them is wrong (generalization disagreement equality, Jiang et al., arXiv 2106.13799). The looks are the views and
the first impression. They err for reasons of their own, which makes them agree too rarely, and for common
reasons, which makes them agree too often: an error that all looks share stays invisible.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence

from service.identifiers import Label, Row
from service.search.predictions.calibration import Shares, calibrated
from service.search.predictions.scores import Scores, likeliest_each

_PRIOR = (1, 2)  # successes and trials before the first row: no estimate from few rows is certain (Laplace)


def expected_accuracy(looks: Sequence[Scores], shares: Shares) -> float:
    """The estimated share of right labels, between 0 and 1, from two looks or more, each calibrated to the shares."""
    labels = [likeliest_each(calibrated(scores, shares)) for scores in looks]
    rows = len(set().union(*labels))
    agreeing = statistics.fmean(itertools.starmap(_agreement, itertools.combinations(labels, 2)))
    hits, trials = _PRIOR
    return (agreeing * rows + hits) / (rows + trials)


def _agreement(one: Mapping[Row, Label], other: Mapping[Row, Label]) -> float:
    """The share of equal labels among the rows that both looks label; 0 if there is no such row."""
    both = [row for row in one if row in other]
    return sum(one[row] == other[row] for row in both) / max(1, len(both))
