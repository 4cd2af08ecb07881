"""Consistency fix (Algorithm 2): conflicting pairs are relabelled where that raises utility."""

import itertools
from collections.abc import Generator
from random import Random

from service.identifiers import Label, Row
from service.search.consistency import Conflict, Labels
from service.search.evaluation import leave_one_out
from service.search.problem import Problem
from service.search.steps import Answer, Candidate, Request


def repair(problem: Problem, candidate: Candidate, rng: Random) -> Generator[Request, Answer, Candidate]:
    """Take conflicting pairs at random, try every consistent option for each, keep what raises utility.

    Utility never falls. Ends without conflicts or after M rounds.
    """
    for _ in range(problem.parameters.repair_rounds):  # line 1
        conflicts = problem.constraints.conflicts(candidate.labels)
        if not conflicts:
            break
        options = consistent_options(problem, candidate.labels, rng.choice(conflicts))  # lines 2-3
        if not options:
            continue
        evaluated = yield from leave_one_out(problem, *options)
        best = max(evaluated, key=lambda option: option.utility)  # line 4
        if best.utility > candidate.utility:  # lines 5-7
            candidate = best
    return candidate


def consistent_options(problem: Problem, labels: Labels, pair: Conflict) -> list[dict[Row, Label]]:
    """The labelling with every relabelling of the pair under which the pair is in no conflict with itself."""
    rows = tuple(dict.fromkeys(pair))
    options = []
    for choice in itertools.product(problem.label_range, repeat=len(rows)):
        option = {**labels, **dict(zip(rows, choice, strict=True))}
        if pair not in problem.constraints.conflicts(option):
            options.append(option)
    return options
