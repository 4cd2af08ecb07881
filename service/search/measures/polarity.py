"""Chooses between a labelling and its permutations, such as its inversion, which are nearly as coherent (polarity)."""

import itertools
import math
from collections.abc import Generator, Sequence
from random import Random

from service.identifiers import Label, Row
from service.search.predictions.scores import Scores
from service.search.prompting import planner
from service.search.prompting.demonstrations import keep_fitting
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Request, ask

SEQUENCES, SEQUENCE_ROWS = 8, 8  # short: the more demonstrations, the less the language model's prior counts
DECISIVE_NATS = 0.7  # odds of two to one between mirrored labellings; below that, utility decides
CLOSE_NATS = 0.1  # per row; if utilities differ by more, they alone decide
ALL_PERMUTED = 3  # labels, of which all permutations are few
MOST_PERMUTATIONS = 5  # three labels have no more than these

Order = tuple[Label, ...]


def permutation_count(classes: int) -> int:
    """How many permutations of that many labels `permutations` gives."""
    every = math.factorial(classes) - 1 if classes <= ALL_PERMUTED else math.comb(classes, 2)
    return min(every, MOST_PERMUTATIONS)


def permutations(problem: Problem, labels: Labels, scores: Scores) -> list[dict[Row, Label]]:
    """The labelling under permutations of the label set; for two labels its complement.

    More than three labels have too many permutations. So these are then only exchanges of two
    labels, those first that the scores make likeliest.
    """
    identity = problem.label_range
    if problem.classes <= ALL_PERMUTED:
        orders = [order for order in itertools.permutations(identity) if order != identity]
    else:
        orders = [exchanged(identity, *pair) for pair in itertools.combinations(identity, 2)]
        orders.sort(key=lambda order: -_own_log_probability(labels, scores, order))
    return [
        {row: problem.known.get(row, order[label]) for row, label in labels.items()}
        for order in orders[:MOST_PERMUTATIONS]
    ]


def is_better(problem: Problem, rival: Candidate, own: Candidate, *, prior_nats: float) -> bool:
    """Whether a permuted labelling should replace the labelling of the same rows.

    `prior_nats` is the language model's prior log-odds of the permuted labelling (from
    `joint_log_probabilities`). They decide if the utilities are close; otherwise the utilities decide.
    """
    gain = rival.utility - own.utility
    close = abs(gain) < CLOSE_NATS * problem.parameters.alpha * (1 if problem.parameters.mean else len(own.labels))
    if close and abs(prior_nats) >= DECISIVE_NATS:
        return prior_nats > 0
    return gain > 0


def exchanged(identity: Order, one: Label, other: Label) -> Order:
    """The order with two of its labels exchanged."""
    swap = {one: other, other: one}
    return tuple(swap.get(label, label) for label in identity)


def _own_log_probability(labels: Labels, scores: Scores, order: Order) -> float:
    """The log-probability of the permuted labels behind demonstrations that keep their labels, nats."""
    return math.fsum(scores[row][order[label]] for row, label in labels.items() if row in scores)


def joint_log_probabilities(
    problem: Problem, labellings: Sequence[Labels], rng: Random
) -> Generator[Request, Answer, list[float]]:
    """log p(y_1, ..., y_n | x_1, ..., x_n) of each labelling, nats: the mean over short random sequences of rows.

    By the chain rule, each label is predicted given those before it. Behind many demonstrations,
    scores hardly depend on which of two mirrored labellings the language model finds likelier a
    priori. Short sequences count that prior in full.
    """
    drawn = [_sequence(problem, labellings[0], rng) for _ in range(SEQUENCES)]
    trees = [planner.chain(problem, sequence, labels) for labels in labellings for sequence in drawn]
    scores = yield from ask(*trees)
    found = [
        math.fsum(score[row][labels[row]] for row in sequence)
        for score, (labels, sequence) in zip(scores, itertools.product(labellings, drawn), strict=True)
    ]
    return [math.fsum(found[start : start + SEQUENCES]) / SEQUENCES for start in range(0, len(found), SEQUENCES)]


def _sequence(problem: Problem, labels: Labels, rng: Random) -> list[Row]:
    """Draw a few labelled rows in random order, as many as fit a prompt."""
    rows = rng.sample(list(labels), min(SEQUENCE_ROWS, len(labels)))
    return keep_fitting(problem, {row: labels[row] for row in rows}, rng)
