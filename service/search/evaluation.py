"""Asking for the scores of a labelling: exactly, by leave-one-out, or cheaply, by folds."""

import itertools
import math
from collections.abc import Generator, Mapping, Sequence
from random import Random

from service.identifiers import Label, Row
from service.search import planner
from service.search.consistency import Labels
from service.search.objective import Scores
from service.search.problem import Problem
from service.search.steps import Answer, Candidate, Request, as_candidate, ask

Scoring = Generator[Request, Answer, Scores]


def in_prompt_order(problem: Problem, rows: Sequence[Row]) -> list[Row]:
    """The rows in a random order that depends on the seed alone, so that a labelling has one score."""
    order = list(problem.rows)
    problem.random("prompt order").shuffle(order)
    wanted = set(rows)
    return [row for row in order if row in wanted]


def leave_one_out(problem: Problem, *labellings: Labels) -> Generator[Request, Answer, list[Candidate]]:
    """Exact scores of whole labellings, asked for at once: every labelled row given all other labels."""
    trees = []
    for labels in labellings:
        rows = in_prompt_order(problem, list(labels))
        inside = problem.fitting(rows, problem.random("fitting"))
        outside = sorted(set(rows) - set(inside))
        trees.append(planner.leave_one_out(problem, inside, labels, outside))
    scores = yield from ask(*trees)
    return [as_candidate(problem, labels, score) for labels, score in zip(labellings, scores, strict=True)]


def by_folds(problem: Problem, labels: Labels, folds: int, rng: Random) -> Scoring:
    """Every labelled row given the labels outside its fold; related rows share a fold."""
    groups = [[row for row in group if row in labels] for group in problem.groups]
    groups = [group for group in groups if group]
    rng.shuffle(groups)
    fitting = set(problem.fitting(list(labels), rng))
    inside = [group for group in groups if fitting.issuperset(group)]
    outside = [row for group in groups if not fitting.issuperset(group) for row in group]
    parts = [part for part in _deal(inside, folds) if part]
    [scores] = yield from ask(planner.held_out(problem, parts, labels, outside))
    return scores


def predict(problem: Problem, labels: Labels, rows: Sequence[Row], rng: Random) -> Scoring:
    """Rows given all labels but their own, in random order; none of the rows may be labelled."""
    demonstrations = list(problem.fitting(sorted(labels), rng))
    rng.shuffle(demonstrations)
    [scores] = yield from ask(planner.behind(problem, demonstrations, labels, rows))
    return scores


def joint_log_probability(
    problem: Problem, *labellings: Labels, sequences: int, length: int
) -> Generator[Request, Answer, list[float]]:
    """log p(y_1, ..., y_n | x_1, ..., x_n) of short sequences of rows, nats, the mean over random sequences.

    By the chain rule, each label given those before it. Leave-one-out scores all but forget
    which of two mirrored labellings a language model holds for likelier to begin with, since
    the demonstrations have told it; here that is counted in full.
    """
    trees, chosen = [], []
    for number in range(sequences):
        rows = problem.random("sequence", number).sample(problem.rows, min(length, len(problem.rows)))
        chosen += [(labels, rows) for labels in labellings]
        trees += [planner.chain(problem, rows, labels) for labels in labellings]
    scores = yield from ask(*trees)
    sums = [sum(score[row][labels[row]] for row in rows) for score, (labels, rows) in zip(scores, chosen, strict=True)]
    return [math.fsum(sums[start :: len(labellings)]) / sequences for start in range(len(labellings))]


def permutations(problem: Problem, labels: Labels) -> list[dict[Row, Label]]:
    """The labelling under every other order of the label set: for two labels its complement.

    For more than three labels only the exchanges of two, since all orders are too many.
    """
    identity = problem.label_range
    if problem.classes <= 3:
        orders = [order for order in itertools.permutations(identity) if order != identity]
    else:
        orders = [_exchanged(identity, *pair) for pair in itertools.combinations(identity, 2)]
    return [{row: order[label] for row, label in labels.items()} for order in orders]


def _exchanged(identity: Sequence[Label], one: Label, other: Label) -> tuple[Label, ...]:
    swap: Mapping[Label, Label] = {one: other, other: one}
    return tuple(swap.get(label, label) for label in identity)


def _deal(groups: Sequence[Sequence[Row]], folds: int) -> list[list[Row]]:
    """Groups dealt out so that the parts are about equally large."""
    parts: list[list[Row]] = [[] for _ in range(min(folds, len(groups)))]
    for group in groups:
        min(parts, key=len).extend(group)
    return parts
