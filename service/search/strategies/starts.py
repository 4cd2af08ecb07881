"""Makes the independent starts of strategy `folds`: labellings of a small set of rows, the best of which grows."""

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

LONGEST_RUN = 4  # a request adds one new row for every four labelled ones
TINY_ROWS, TINY_STARTS = 16, 4  # a set of up to 16 rows costs little and misleads often: four times the starts
POLISHING_SWEEPS = 3  # at most; a start that no longer changes has converged


def start_groups(problem: Problem) -> list[tuple[Row, ...]]:
    """The groups that every start labels: the first in the order of prompts, the same for all starts."""
    rows = next_rows(problem, {}, problem.parameters.initial_rows)
    return list(dict.fromkeys(problem.constraints.group_of[row] for row in rows))


def min_starts(problem: Problem) -> int:
    """The number of starts to make even if two agree earlier; on a tiny set all, since two may agree by chance."""
    return max_starts(problem) if len(problem.rows) <= TINY_ROWS else 2


def max_starts(problem: Problem) -> int:
    """The number of starts to make if no two agree."""
    return problem.parameters.restarts * (TINY_STARTS if len(problem.rows) <= TINY_ROWS else 1)


def start(problem: Problem, rng: Random, *, seeded: bool) -> Generator[Request, Answer, Candidate]:
    """Label the small set once; return the labelling with its scores by folds and its utility.

    A seeded start begins with K random labels (Algorithm 1, line 1). The others begin with none, so
    that the language model's first impression seeds them.
    """
    groups = rng.sample(order := start_groups(problem), len(order))
    labels = _random_labels(problem, groups, rng) if seeded else {}
    labels = yield from _sample(problem, labels, groups, rng)
    return (yield from _polish(problem, problem.in_order(labels)))


def _random_labels(problem: Problem, groups: Sequence[Sequence[Row]], rng: Random) -> dict[Row, Label]:
    """Random labels for K rows that break no rule."""
    seeds = _first_rows(groups, {}, problem.parameters.seed_labels)
    blind: Scores = dict.fromkeys(seeds, (0.0,) * problem.classes)
    return redraw(problem, {}, blind, rng)


def _sample(problem: Problem, labels: Labels, groups: Sequence[Sequence[Row]], rng: Random) -> Labelling:
    """Draw labels from the language model's joint distribution, each given those before it (ancestral sampling).

    So a start finds a concept that is likely a priori more often than its mirror image. Later rows are
    drawn several at a time, once the demonstrations far outnumber them.
    """
    labels, size = dict(labels), sum(map(len, groups))
    while len(labels) < size:
        rows = _first_rows(groups, labels, max(1, len(labels) // LONGEST_RUN))
        scores = yield from evaluation.predict(problem, labels, rows)
        labels = redraw(problem, labels, scores, rng)
    return labels


def _polish(problem: Problem, labels: Labels) -> Generator[Request, Answer, Candidate]:
    """Sweep greedily until nothing changes; return the best labelling met."""
    best: Candidate | None = None
    for _ in range(POLISHING_SWEEPS):
        scores = yield from evaluation.by_folds(problem, labels, problem.parameters.folds)
        best = better(best, as_candidate(problem, labels, scores))
        redrawn = redraw(problem, labels, scores)
        if redrawn == labels:
            break
        labels = redrawn
    if best is None:
        raise AssertionError("there is at least one sweep")
    return best


def choose_polarity(problem: Problem, found: Candidate, rng: Random) -> Generator[Request, Answer, Candidate]:
    """The labelling, or a permutation of it if the language model clearly prefers that a priori and utility agrees."""
    permuted = polarity.permutations(problem, found.labels, found.scores)
    own, *others = yield from polarity.joint_log_probabilities(problem, [found.labels, *permuted], rng)
    best = max(range(len(others)), key=others.__getitem__)
    prior_nats = others[best] - own
    if prior_nats < polarity.DECISIVE_NATS:
        return found
    rival = yield from _polish(problem, permuted[best])
    return rival if polarity.is_better(problem, rival, found, prior_nats=prior_nats) else found


def next_rows(problem: Problem, labels: Labels, count: int) -> list[Row]:
    """The next unlabelled rows in the order of prompts: whole groups, until there are at least `count` rows."""
    rows: list[Row] = []
    for row in problem.order:
        new = not rows or problem.constraints.group_of[row] != problem.constraints.group_of[rows[-1]]
        if len(rows) >= count and new:
            break
        if row not in labels:
            rows.append(row)
    return rows


def _first_rows(groups: Sequence[Sequence[Row]], labels: Labels, count: int) -> list[Row]:
    """Unlabelled rows of these groups: whole groups, until there are at least `count` rows."""
    rows: list[Row] = []
    for group in groups:
        if len(rows) >= count:
            break
        rows.extend(row for row in group if row not in labels)
    return rows
