"""What known rows say of predictions that were made of them while they were left out of the prompts.

That is evidence which no labelling of unlabelled rows can make for itself: coherent labels predict one another
whether they are true or not, known labels are predicted only by what holds outside, too.
"""

import math
from collections.abc import Iterator

from service.identifiers import Label, Row
from service.search.measures.agreement import kappa
from service.search.predictions.calibration import Shares, calibrated
from service.search.predictions.panel import pooled
from service.search.predictions.scores import Scores, likeliest
from service.search.state.problem import Problem

SLIP = 0.05  # chance that a known label is a slip of the user's: one wrong row must not outweigh all others
LEAST_PART = 1e-4  # of a mix, that a source keeps, so that every row has a prediction
EARNED_NATS = 1.0  # by which another source must make known labels likelier where nothing else speaks for it
_RELATED_ERRORS = 2.0  # standard errors of no agreement beyond chance
_STEPS = 4  # of the mixes tried between two sources, evenly spaced


def fit_nats(problem: Problem, scores: Scores) -> float:
    """log p of the known labels among the scores less what chance gives them, nats in all; 0 of no row."""
    return math.fsum(
        math.log(SLIP + (1 - SLIP) * problem.classes * math.exp(scores[row][label]))
        for row, label in _asked(problem, scores)
    )


def part_of_other(problem: Problem, own: Scores, other: Scores, shares: Shares, *, handicap_nats: float = 0.0) -> float:
    """How much of the mean of a prediction and another one the other should be.

    The posterior mean by the known rows that both were asked for, every part being as likely before; none or all,
    where the known labels are less likely by the mean than by one alone. Predictions that have nothing to do
    with one another cannot both be right: then the other is left out unless it adds enough. `handicap_nats` is
    taken off what the known rows say for the other, where it was picked by these rows.
    """
    asked = {row: label for row, label in _asked(problem, own) if row in other}

    def fitted(part: float) -> float:
        mixed = pooled([own, other], [1 - part, part], shares)
        return fit_nats(problem, {row: mixed[row] for row in asked}) - handicap_nats * (part > LEAST_PART)

    parts = [min(max(step / _STEPS, LEAST_PART), 1 - LEAST_PART) for step in range(_STEPS + 1)]
    fits = [fitted(part) for part in parts]
    if max(fits) < fits[0] + EARNED_NATS and not _are_related(own, other, shares):
        return parts[0]
    likelihoods = [math.exp(value - max(fits)) for value in fits]
    mean = math.fsum(map(float.__mul__, parts, likelihoods)) / math.fsum(likelihoods)
    best_alone = max((0, -1), key=lambda end: fits[end])
    return parts[best_alone] if fits[best_alone] > fitted(mean) else mean


def _are_related(own: Scores, other: Scores, shares: Shares) -> bool:
    """Whether the likeliest labels agree, or contradict one another, more than by chance."""
    one, two = (
        {row: likeliest(values) for row, values in calibrated(scores, shares).items()} for scores in (own, other)
    )
    beyond_chance = kappa(one, two)
    return beyond_chance is not None and abs(beyond_chance) * math.sqrt(len(one)) >= _RELATED_ERRORS


def _asked(problem: Problem, scores: Scores) -> Iterator[tuple[Row, Label]]:
    return ((row, label) for row, label in problem.known.items() if row in scores)
