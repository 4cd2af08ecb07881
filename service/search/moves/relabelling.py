"""Draws a sweep's next labels from the pooled prediction of its views, and keeps label shares plausible."""

from dataclasses import replace

from service.search.moves.cardinality import counts_within, redraw_within
from service.search.moves.redraw import Redrawn, redraw_groups
from service.search.predictions.calibration import Shares, moderate
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import State

_LEAST_SHARE = 1e-3  # calibration cannot reach a share of 0


def expected_shares(problem: Problem, shares: Shares) -> Shares:
    """The shares to calibrate to: halfway between the last labels' shares and even ones, within the user's bounds."""
    return within_bounds(problem, moderate(shares))


def within_bounds(problem: Problem, shares: Shares) -> Shares:
    """The shares moved into the bounds that the user gave; labels without a bound share the rest in proportion."""
    expected = list(shares)
    for label, (least, most) in problem.shares.items():
        expected[label] = min(max(expected[label], least), most)
    bound = sum(expected[label] for label in problem.shares)
    left_open = [label for label in problem.label_range if label not in problem.shares]
    rest = sum(expected[label] for label in left_open)
    for label in left_open:
        expected[label] *= max(0.0, 1 - bound) / rest
    expected = [max(share, _LEAST_SHARE) for share in expected]
    return tuple(share / sum(expected) for share in expected)


def cautious(shares: Shares, rows: int) -> Shares:
    """Shrink the shares among `rows` rows towards even ones as far as chance explains their difference.

    If predictions are nearly flat, a few hundredths of a share change many labels. This keeps the part of Pearson's
    chi-squared beyond twice its expectation under even shares (James-Stein).
    """
    even = 1 / len(shares)
    chi_squared = rows * sum((share - even) ** 2 for share in shares) / even
    kept = max(0.0, 1 - 2 * (len(shares) - 1) / chi_squared) if chi_squared else 0.0
    return tuple(even + kept * (share - even) for share in shares)


def relabelled(problem: Problem, labels: Labels, scores: Scores) -> Redrawn:
    """The likeliest labelling that breaks no rule and keeps to the user's shares."""
    if problem.shares:
        within = redraw_within(problem, scores, counts_within(problem.shares, len(problem.rows)), labels=labels)
        return Redrawn(within.labels, 0 if within.proven else 1)
    return redraw_groups(problem, labels, scores)


def counted(problem: Problem, state: State, before: Labels, drawn: Redrawn) -> State:
    """The state with its counters advanced by a redraw of all groups."""
    after = drawn.labels
    changed = sum(any(before.get(row) != after.get(row) for row in group) for group in problem.groups)
    return replace(
        state,
        iterations=state.iterations + len(problem.groups),
        accepted=state.accepted + changed,
        unproven=state.unproven + drawn.unproven_groups,
    )
