"""Batch calibration (arXiv 2309.17249): the labels' log-probabilities, shifted until the mean prediction is even."""

import numpy as np
import numpy.typing as npt

from benchmarks.real.outcome import Outcome, from_scores
from service.search.predictions.scores import Scores

TOLERANCE = 1e-6  # of the mean predicted probability of any label
MOST_STEPS = 100_000


def shifts(scores: Scores) -> npt.NDArray[np.float64]:
    """The constant for each label, nats, that makes the mean predicted probability over the rows uniform.

    The paper subtracts the logarithm of the mean prediction once; here that is repeated until the mean
    is even. Each step raises the concave function sum_i -log sum_y exp(s_iy + b_y) + N mean(b), so it converges.
    """
    table = np.array(list(scores.values()), dtype=np.float64)
    classes = table.shape[1]
    found = np.zeros(classes)
    for _ in range(MOST_STEPS):
        mean = np.exp(_normalized(table + found)).mean(axis=0)
        if np.abs(mean - 1 / classes).max() < TOLERANCE:
            break
        found -= np.log(mean * classes)
    centred: npt.NDArray[np.float64] = found - found.mean()
    return centred


def calibrated(outcome: Outcome) -> Outcome:
    """The outcome's scores calibrated, and the likeliest labels by them."""
    if not outcome.scores:
        return outcome
    constants = shifts(outcome.scores)
    table = _normalized(np.array(list(outcome.scores.values())) + constants)
    scores = {row: tuple(values.tolist()) for row, values in zip(outcome.scores, table, strict=True)}
    return from_scores(scores, **outcome.facts, shifts_nats=[round(float(value), 4) for value in constants])


def _normalized(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log-probabilities over the label set, row by row."""
    normalized: npt.NDArray[np.float64] = values - np.logaddexp.reduce(values, axis=1, keepdims=True)
    return normalized
