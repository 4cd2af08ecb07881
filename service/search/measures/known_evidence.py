"""Measures predictions by known rows that the prompts had left out.

No labelling of unlabelled rows can provide this evidence itself: coherent labels predict one another even if they
are wrong, but only predictions that agree with the user's labels predict known rows.
"""

import math
from collections import Counter
from collections.abc import Iterator

from service.identifiers import Label, Row
from service.search.measures.agreement import kappa
from service.search.predictions.calibration import Shares, calibrated
from service.search.predictions.panel import pooled
from service.search.predictions.scores import Scores, likeliest, likeliest_each
from service.search.state.facts import SearchFacts
from service.search.state.problem import Problem

SLIP = 0.05  # probability of a wrong known label, so that a single one does not outweigh all others
LEAST_PART = 1e-4  # smallest weight of a source in a mix, so that every row has a prediction
EARNED_NATS = 1.0  # an unrelated source must make known labels likelier by this much
_RELATED_ERRORS = 2.0  # agreement or contradiction within this many standard errors may be chance
_STEPS = 4  # evenly spaced mixes to try between two sources


def fit_nats(problem: Problem, scores: Scores) -> float:
    """log p of the known labels among the scores, less that of a uniform guess, summed, nats; 0 without such rows."""
    return math.fsum(
        math.log(SLIP + (1 - SLIP) * problem.classes * math.exp(scores[row][label]))
        for row, label in _known(problem, scores)
    )


def part_of_other(problem: Problem, own: Scores, other: Scores, shares: Shares, *, handicap_nats: float = 0.0) -> float:
    """The weight that the other prediction should have in the mean of both, from 0 to 1.

    This is the posterior mean under a uniform prior, given the known rows that both predict; nearly 0 or 1 if one
    prediction alone makes the known labels likelier than the mean does. Unrelated predictions cannot both be right,
    so an unrelated one has weight only if it earns EARNED_NATS. `handicap_nats` is subtracted from the evidence for
    the other if these rows have also selected it.
    """
    shared = {row for row, _ in _known(problem, own) if row in other}

    def fitted(part: float) -> float:
        mixed = pooled([own, other], [1 - part, part], shares)
        return fit_nats(problem, {row: mixed[row] for row in shared}) - handicap_nats * (part > LEAST_PART)

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
    one, two = (likeliest_each(calibrated(scores, shares)) for scores in (own, other))
    beyond_chance = kappa(one, two)
    return beyond_chance is not None and abs(beyond_chance) * math.sqrt(len(one)) >= _RELATED_ERRORS


def _known(problem: Problem, scores: Scores) -> Iterator[tuple[Row, Label]]:
    """The known rows among the scores, with their labels."""
    return ((row, label) for row, label in problem.known.items() if row in scores)


def known_facts(problem: Problem, scores: Scores) -> SearchFacts:
    """How many known rows the views label rightly; no view scores a row that it shows."""
    if not problem.known:
        return {}
    scored = [row for row in problem.known if row in scores]
    right = sum(likeliest(scores[row]) == problem.known[row] for row in scored)
    commonest = max(Counter(problem.known[row] for row in scored).values(), default=0)
    return {"known_rows": len(scored), "known_right": right, "known_commonest": commonest}
