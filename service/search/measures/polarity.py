"""Which way round a labelling is: every permutation of the label set is nearly as coherent as the labelling itself."""

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

SEQUENCES, SEQUENCE_ROWS = 8, 8  # short: the more demonstrations, the less a language model's own view counts
DECISIVE_NATS = 0.7  # odds of two to one between mirrored labellings; below that, utility decides
CLOSE_NATS = 0.1  # per row; where utilities differ by more, they decide alone
MOST_PERMUTATIONS = 5  # all of them for three labels

Order = tuple[Label, ...]


def permutations(problem: Problem, labels: Labels, scores: Scores) -> list[dict[Row, Label]]:
    """The labelling under other orders of the label set: for two labels its complement.

    For more than three labels only exchanges of two, since all orders are too many, and of
    those the ones that the scores make likeliest.
    """
    identity = problem.label_range
    if problem.classes <= 3:
        orders = [order for order in itertools.permutations(identity) if order != identity]
    else:
        orders = [_exchanged(identity, *pair) for pair in itertools.combinations(identity, 2)]
        orders.sort(key=lambda order: -_own_log_probability(labels, scores, order))
    return [
        {row: problem.known.get(row, order[label]) for row, label in labels.items()}
        for order in orders[:MOST_PERMUTATIONS]
    ]


def is_better(problem: Problem, rival: Candidate, own: Candidate, *, beforehand_nats: float) -> bool:
    """Whether a permuted labelling is the better reading of the same rows.

    `beforehand_nats` is by how much the language model holds it for likelier to begin with
    (`joint_log_probabilities`): it decides where utilities are close, and otherwise they do.
    """
    gain = rival.utility - own.utility
    close = abs(gain) < CLOSE_NATS * problem.parameters.alpha * (1 if problem.parameters.mean else len(own.labels))
    if close and abs(beforehand_nats) >= DECISIVE_NATS:
        return beforehand_nats > 0
    return gain > 0


def _exchanged(identity: Order, one: Label, other: Label) -> Order:
    swap = {one: other, other: one}
    return tuple(swap.get(label, label) for label in identity)


def _own_log_probability(labels: Labels, scores: Scores, order: Order) -> float:
    """What the labels under an order would score if the demonstrations kept theirs, nats."""
    return math.fsum(scores[row][order[label]] for row, label in labels.items() if row in scores)


def joint_log_probabilities(
    problem: Problem, labellings: Sequence[Labels], rng: Random
) -> Generator[Request, Answer, list[float]]:
    """log p(y_1, ..., y_n | x_1, ..., x_n) of short sequences of rows, nats, the mean over random sequences.

    By the chain rule, each label given those before it. Scores behind many demonstrations all
    but forget which of two mirrored labellings a language model holds for likelier to begin
    with, since the demonstrations have told it; here that is counted in full.
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
    """A few labelled rows in random order, as many as fit a prompt."""
    rows = rng.sample(list(labels), min(SEQUENCE_ROWS, len(labels)))
    return keep_fitting(problem, {row: labels[row] for row in rows}, rng)
