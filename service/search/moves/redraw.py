"""Draws new labels for related rows jointly, among the labellings that break no rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Constraints, Labels, TooManySteps
from service.search.rules.optimum import best_labelling
from service.search.state.problem import Problem

EXACT_LABELLINGS = 1024  # a group with more consistent labellings is drawn by perturb-and-MAP
EXACT_STEPS = 8192  # labels that the listing of consistent labellings may try


@dataclass(frozen=True, slots=True)
class Redrawn:
    """Labels after a redraw, and the number of groups whose labelling is not proven to be the best."""

    labels: dict[Row, Label]
    unproven_groups: int


def redraw(problem: Problem, labels: Labels, scores: Scores, rng: Random | None = None) -> dict[Row, Label]:
    """Like `redraw_groups`, but return only the labels."""
    return redraw_groups(problem, labels, scores, rng).labels


def redraw_groups(problem: Problem, labels: Labels, scores: Scores, rng: Random | None = None) -> Redrawn:
    """Redraw all groups that have scores; the others keep their labels.

    Without `rng` a group gets the likeliest labelling that breaks no rule, given the labels of its members without
    scores. With `rng` its labelling is drawn among these, with weight exp(sum of log p). If they are too many to list,
    the draw adds noise to the scores and takes the best labelling (*perturb-and-MAP*). If every labelling breaks a
    rule, the group gets one with the fewest conflicts.

    Known rows are never redrawn. A known row with a label or scores gets its known label; every known
    row constrains the draw of its group.
    """
    known = problem.known
    result, unproven = {row: known.get(row, label) for row, label in labels.items()}, 0
    for group in problem.groups:
        result |= {row: known[row] for row in group if row in known and row in scores}
        members = [row for row in group if row in scores and row not in known]
        if not members:
            continue
        fixed = _fixed(problem, group, labels, scores)
        options = _few_options(problem, members, fixed)
        if options:
            result |= _choose(options, scores, rng)
            continue
        noisy = {row: scores[row] for row in members}
        if rng is not None:
            noisy |= {row: _perturbed(scores[row], rng) for row in _free(problem, members)}
        start = {row: labels[row] for row in members if row in labels}
        complete = start if len(start) == len(members) else {}
        optimum = best_labelling(problem.constraints.of(members), noisy, fixed, complete)
        result |= optimum.labels
        unproven += not optimum.proven
    return Redrawn(result, unproven)


def _fixed(problem: Problem, group: Sequence[Row], labels: Labels, scores: Scores) -> dict[Row, Label]:
    """The labels of a group that the draw keeps: those of known rows and of rows without scores."""
    stay = {row: labels[row] for row in group if row in labels and row not in scores}
    return stay | {row: problem.known[row] for row in group if row in problem.known}


def _few_options(problem: Problem, members: Sequence[Row], fixed: Labels) -> list[dict[Row, Label]]:
    """Every consistent labelling of the members; empty if there are too many to list, or none."""
    options: list[dict[Row, Label]] = []
    try:
        for option in problem.constraints.consistent(members, fixed, problem.classes, EXACT_STEPS):
            if len(options) == EXACT_LABELLINGS:
                return []
            options.append(option)
    except TooManySteps:
        return []
    return options


def _choose(options: Sequence[dict[Row, Label]], scores: Scores, rng: Random | None) -> dict[Row, Label]:
    sums = [sum(scores[row][label] for row, label in option.items()) for option in options]
    best = max(sums)
    if rng is None:
        return options[sums.index(best)]
    return rng.choices(options, [math.exp(value - best) for value in sums])[0]


def _free(problem: Problem, members: Sequence[Row]) -> list[Row]:
    """One row per set of members with mutually determined labels; perturbing each would add too much noise."""
    inside = set(members)
    bonds = [
        constraint
        for constraint in problem.constraints.of(members)
        if constraint.rule.kind.determines(constraint, problem.classes) and inside.issuperset(constraint.rows)
    ]
    return [group[0] for group in Constraints(members, bonds).groups]


def _perturbed(scores: LogProbabilities, rng: Random) -> LogProbabilities:
    """Scores plus Gumbel noise: the best label of a row without rules is then a draw from exp(score)."""
    return tuple(score - math.log(rng.expovariate(1.0)) for score in scores)


def random_labels(problem: Problem) -> dict[Row, Label]:
    """Draw a random labelling that breaks no rule."""
    blind: Scores = dict.fromkeys(problem.rows, (0.0,) * problem.classes)
    return redraw(problem, {}, blind, problem.random("random labels"))
