"""Repairs conflicts by relabelling their rows if that raises utility (consistency fix, Algorithm 2)."""

import itertools
from collections.abc import Generator, Iterator, Sequence
from random import Random

from service.identifiers import Label, Row
from service.search.predictions.scores import Scores
from service.search.prompting.evaluation import leave_one_out
from service.search.rules.consistency import Conflict, Labels
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Request

MAX_OPTIONS = 8  # scored per conflict: all options for two labels and up to three rows, or three labels and two rows
MAX_RELABELLINGS = 4096  # of a conflict's rows; if there are more, only those that change one row or two


def repair(problem: Problem, candidate: Candidate, rng: Random) -> Generator[Request, Answer, Candidate]:
    """Take conflicts at random, score the consistent options of each, and keep an option that raises utility.

    Utility never falls. The repair ends after M rounds, or as soon as there is no conflict left.
    """
    for _ in range(problem.parameters.repair_rounds):  # line 1
        conflicts = problem.constraints.conflicts(candidate.labels)
        if not conflicts:
            break
        conflict = rng.choice(conflicts)  # line 2
        options = consistent_options(problem, candidate.labels, conflict)  # line 3
        if not options:
            continue
        promising = most_promising(problem, options, conflict, candidate.scores)
        evaluated = yield from leave_one_out(problem, *promising)
        best = max(evaluated, key=lambda option: option.utility)  # line 4
        if best.utility > candidate.utility:  # lines 5-7
            candidate = best
    return candidate


def consistent_options(problem: Problem, labels: Labels, conflict: Conflict) -> list[dict[Row, Label]]:
    """The labelling with each relabelling of the conflict's rows that resolves the conflict.

    If there are more than MAX_RELABELLINGS, an option relabels at most two rows. No option relabels a known row.
    """
    return [
        {**labels, **choice}
        for choice in _relabellings(problem, labels, [row for row in conflict if row not in problem.known])
        if conflict not in problem.constraints.conflicts_of(conflict[:1], {**labels, **choice})
    ]


def most_promising(
    problem: Problem, options: list[dict[Row, Label]], conflict: Conflict, scores: Scores
) -> list[dict[Row, Label]]:
    """The options of highest utility by the labelling's present scores, at most MAX_OPTIONS, in their order.

    Algorithm 2 scores every option, which with many labels means hundreds of passes over all
    rows. The present scores suffice to discard most of the options.
    """
    if len(options) <= MAX_OPTIONS:
        return options
    ranked = sorted(range(len(options)), key=lambda n: -_expected_utility(problem, options[n], conflict, scores))
    return [options[number] for number in sorted(ranked[:MAX_OPTIONS])]


def _expected_utility(problem: Problem, labels: Labels, conflict: Conflict, scores: Scores) -> float:
    """The part of U, eq. 2, that depends on the relabelled rows."""
    own = sum(scores[row][labels[row]] for row in conflict if row in scores)
    weight = problem.parameters.alpha / (len(labels) if problem.parameters.mean else 1)
    return weight * own - len(problem.constraints.conflicts_of(conflict, labels))


def _relabellings(problem: Problem, labels: Labels, rows: Sequence[Row]) -> Iterator[dict[Row, Label]]:
    if problem.classes ** len(rows) <= MAX_RELABELLINGS:
        for choice in itertools.product(problem.label_range, repeat=len(rows)):
            yield dict(zip(rows, choice, strict=True))
        return
    for row, label in itertools.product(rows, problem.label_range):
        if label != labels[row]:
            yield {row: label}
    for pair in itertools.combinations(rows, 2):
        for choice in itertools.product(problem.label_range, repeat=2):
            if all(label != labels[row] for row, label in zip(pair, choice, strict=True)):
                yield dict(zip(pair, choice, strict=True))
