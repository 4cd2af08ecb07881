"""Independent beginnings of strategy `folds` on a small set of rows."""

from collections.abc import Generator, Sequence
from random import Random

from service.identifiers import Label, Row
from service.search.measures import polarity
from service.search.moves.redraw import redraw
from service.search.predictions.scores import Scores
from service.search.prompting import evaluation
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Request, as_candidate, better

Labelling = Generator[Request, Answer, dict[Row, Label]]

LONGEST_RUN = 4  # one new row for so many labelled ones is asked for at once
TINY_ROWS, TINY_STARTS = 16, 4  # so few rows cost little and mislead often: so many times the starts
POLISHING_SWEEPS = 3  # at most; a start that no longer changes has arrived


def small_set(problem: Problem) -> list[tuple[Row, ...]]:
    """The groups that every start labels, the first ones in prompts: the same for all starts, so that they compare."""
    rows = take(problem, {}, problem.parameters.initial_rows)
    return list(dict.fromkeys(problem.constraints.group_of[row] for row in rows))


def fewest(problem: Problem) -> int:
    """How many starts there are even if two agree before; on a tiny set all, since two may well mislead alike."""
    return most(problem) if len(problem.rows) <= TINY_ROWS else 2


def most(problem: Problem) -> int:
    """How many starts there are if no two agree."""
    return problem.parameters.restarts * (TINY_STARTS if len(problem.rows) <= TINY_ROWS else 1)


def start(problem: Problem, rng: Random, *, seeded: bool) -> Generator[Request, Answer, Candidate]:
    """One labelling of the small set, its scores by folds, and its utility.

    A seeded start begins with K random labels (Algorithm 1, line 1); the others with none, so
    that the language model's own first impression seeds them.
    """
    groups = rng.sample(order := small_set(problem), len(order))
    labels = _random_labels(problem, groups, rng) if seeded else {}
    labels = yield from _sampled(problem, labels, groups, rng)
    return (yield from _polished(problem, problem.in_order(labels), rng))


def _random_labels(problem: Problem, groups: Sequence[Sequence[Row]], rng: Random) -> dict[Row, Label]:
    """K rows labelled at random among the labellings that break no rule."""
    seeds = _first(groups, {}, problem.parameters.seed_labels)
    blind: Scores = dict.fromkeys(seeds, (0.0,) * problem.classes)
    return redraw(problem, {}, blind, temperature=1.0, rng=rng)


def _sampled(problem: Problem, labels: Labels, groups: Sequence[Sequence[Row]], rng: Random) -> Labelling:
    """Labels drawn from the language model's own joint distribution, each given those before it.

    This is ancestral sampling: a concept that the model holds for likely beforehand is found
    likelier than its mirror image. Later rows come several at a time, when the demonstrations
    outnumber them.
    """
    labels, size = dict(labels), sum(map(len, groups))
    while len(labels) < size:
        rows = _first(groups, labels, max(1, len(labels) // LONGEST_RUN))
        scores = yield from evaluation.predict(problem, labels, rows)
        labels = redraw(problem, labels, scores, temperature=1.0, rng=rng)
    return labels


def _polished(problem: Problem, labels: Labels, rng: Random) -> Generator[Request, Answer, Candidate]:
    """Greedy sweeps until nothing changes; the best labelling met."""
    best: Candidate | None = None
    for _ in range(POLISHING_SWEEPS):
        scores = yield from evaluation.by_folds(problem, labels, problem.parameters.folds)
        best = better(best, as_candidate(problem, labels, scores))
        redrawn = redraw(problem, labels, scores, temperature=0.0, rng=rng)
        if redrawn == labels:
            break
        labels = redrawn
    if best is None:
        raise AssertionError("there is at least one sweep")
    return best


def turned_right(problem: Problem, found: Candidate, rng: Random) -> Generator[Request, Answer, Candidate]:
    """The labelling, or a permutation of it as coherent that the language model holds for likelier beforehand."""
    permuted = polarity.permutations(problem, found.labels, found.scores)
    own, *others = yield from polarity.joint_log_probabilities(problem, [found.labels, *permuted], rng)
    best = max(range(len(others)), key=others.__getitem__)
    beforehand = others[best] - own
    if beforehand < polarity.DECISIVE_NATS:
        return found
    rival = yield from _polished(problem, permuted[best], rng)
    return rival if polarity.is_better(problem, rival, found, beforehand_nats=beforehand) else found


def take(problem: Problem, labels: Labels, count: int) -> list[Row]:
    """The next unlabelled rows in the order of prompts, whole groups, until there are enough."""
    rows: list[Row] = []
    for row in problem.order:
        new = not rows or problem.constraints.group_of[row] != problem.constraints.group_of[rows[-1]]
        if len(rows) >= count and new:
            break
        if row not in labels:
            rows.append(row)
    return rows


def _first(groups: Sequence[Sequence[Row]], labels: Labels, count: int) -> list[Row]:
    """Unlabelled rows, whole groups at a time, until there are enough."""
    rows: list[Row] = []
    for group in groups:
        if len(rows) >= count:
            break
        rows.extend(row for row in group if row not in labels)
    return rows
