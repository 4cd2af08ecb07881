"""Batch calibration (arXiv 2309.17249): the labels' log-probabilities, shifted until the mean prediction is even."""

from benchmarks.real.outcome import Outcome, from_scores
from service.search.predictions.calibration import even_shares, shift_to, shifted


def calibrated(outcome: Outcome) -> Outcome:
    """The outcome's scores calibrated, and the likeliest labels by them.

    The paper subtracts the logarithm of the mean prediction once; `shift_to` repeats that until the mean is even.
    """
    if not outcome.scores:
        return outcome
    classes = len(next(iter(outcome.scores.values())))
    shift = shift_to(outcome.scores.values(), even_shares(classes))
    return from_scores(shifted(outcome.scores, shift), **outcome.facts, shifts_nats=[round(nats, 4) for nats in shift])
