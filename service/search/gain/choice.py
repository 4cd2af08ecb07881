"""Chooses between labellings: the first impression's, those of the starts, those that known rows support.

The first impression is the only evidence of what the label words mean. Known rows are evidence of another kind, and
where there are any, they decide.
"""

from dataclasses import replace

from service.search.measures.gain import gain_utility
from service.search.measures.known_evidence import EARNED_NATS, fit_nats
from service.search.predictions.calibration import entropy, even_shares, label_shares
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, State, better

CONFIRMED_SHARE = 0.1  # of the entropy: if the impression's labels gain more, demonstrations confirm it
DECISIVE_SHARE = 0.3  # of the entropy: a labelling that contradicts the impression must gain this much more
CONFIRMED_NATS = 2.0  # known labels likelier than by chance by at least this much confirm the labels
_ROUNDING_NATS = 1e-6


def chosen(problem: Problem, state: State) -> Candidate:
    """Choose the start whose labelling the search audits and returns.

    To replace an unconfirmed impression, a labelling must also gain far more than nothing: among labellings without
    any gain, one beats another by far through chance alone.
    """
    first, own, *others = state.starts
    if problem.known:
        return own if shows_labels_found(problem, state) else replace(first, scores=state.impression)
    decisive = problem.parameters.alpha * DECISIVE_SHARE * entropy(even_shares(problem.classes))
    best = max([own, *others], key=lambda candidate: candidate.utility)
    if demonstrations_confirm(problem, first):
        return best if best.utility > own.utility + decisive else own
    nothing = gain_utility(problem, best.labels, 0.0)
    return best if best.utility > max(first.utility, nothing) + decisive else first


def better_known(problem: Problem, first: Candidate | None, second: Candidate) -> Candidate:
    """The candidate that predicts the known labels better; if both do about equally, the one that gains more."""
    if first is None:
        return second
    lead = fit_nats(problem, second.scores) - fit_nats(problem, first.scores)
    if abs(lead) > EARNED_NATS:
        return second if lead > 0 else first
    return better(first, second)


def shows_labels_found(problem: Problem, state: State) -> bool:
    """Whether the final views show labels found behind the known rows.

    These must predict known labels no worse than the impression, which shows only known rows. If demonstrations do
    not confirm the impression, they must predict them better.
    """
    least = -_ROUNDING_NATS if demonstrations_confirm(problem, state.starts[0]) else EARNED_NATS
    return lead_nats(problem, state) >= least


def lead_nats(problem: Problem, state: State) -> float:
    """How much likelier known labels are behind labels found than behind only known rows, nats."""
    return fit_nats(problem, state.starts[1].scores) - fit_nats(problem, state.impression)


def is_confirmed(problem: Problem, state: State) -> bool:
    """Whether demonstrations or known labels confirm the impression."""
    return demonstrations_confirm(problem, state.starts[0]) or fit_nats(problem, state.impression) >= CONFIRMED_NATS


def demonstrations_confirm(problem: Problem, first: Candidate) -> bool:
    """Whether demonstrations with the impression's labels predict these labels: whether they confirm it."""
    shares = label_shares(first.labels, first.labels, problem.classes)
    return first.utility > problem.parameters.alpha * CONFIRMED_SHARE * entropy(shares)
