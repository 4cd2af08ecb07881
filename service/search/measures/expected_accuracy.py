"""Estimates without gold labels what share of the pooled labels is right, from how often sources agree.

Two sources with independent errors agree about as often as both are right, so agreement rates estimate accuracy
(Platanios, Blum and Mitchell, UAI 2014). No two sources here are independent, but they depend on each other in
opposite ways:

- Views of one labelling share the errors of its labels. A view agrees with the others more often than the labels are
  right.
- The first impression shows no label. Each of its own errors is a disagreement, also where the labels are right. The
  views agree with it less often than the labels are right.

The mean of both rates is the estimate. An error that views and impression share stays invisible to it.
"""

import statistics
from collections.abc import Sequence

from service.search.predictions.calibration import Shares, calibrated
from service.search.predictions.panel import pooled
from service.search.predictions.scores import Scores, likeliest

_PRIOR = (1, 2)  # successes and trials before the first row: no estimate from few rows is certain (Laplace)


def expected_accuracy(views: Sequence[Scores], impression: Scores | None, shares: Shares) -> float:
    """The estimated share of right labels, between 0 and 1; `impression` is None where it is no evidence.

    Of two views or more. Views and impression are calibrated to the shares.
    """
    told = [calibrated(scores, shares) for scores in views]
    everything = _together(told, shares)
    within = statistics.fmean(
        _agreement(view, _together([*told[:place], *told[place + 1 :]], shares)) for place, view in enumerate(told)
    )
    rates = [within] if impression is None else [within, _agreement(everything, calibrated(impression, shares))]
    hits, trials = _PRIOR
    return (statistics.fmean(rates) * len(everything) + hits) / (len(everything) + trials)


def _together(views: Sequence[Scores], shares: Shares) -> Scores:
    return pooled(views, [1.0] * len(views), shares)


def _agreement(one: Scores, other: Scores) -> float:
    """The share of the rows of both to which both give the same likeliest label; 0 without such a row."""
    both = [row for row in one if row in other]
    return sum(likeliest(one[row]) == likeliest(other[row]) for row in both) / max(1, len(both))
