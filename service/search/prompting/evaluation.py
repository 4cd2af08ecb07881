"""Requests the scores of a labelling: exactly, by leave-one-out, or cheaply, by folds."""

import math
from collections.abc import Generator, Iterator, Sequence

from service.identifiers import Row
from service.search.predictions.scores import Scores
from service.search.prompting import planner
from service.search.prompting.demonstrations import keep_fitting
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Request, as_candidate, ask

Scoring = Generator[Request, Answer, Scores]


def leave_one_out(problem: Problem, *labellings: Labels) -> Generator[Request, Answer, list[Candidate]]:
    """Exact scores of whole labellings in one request: each labelled row given all other labels."""
    trees = []
    for labels in labellings:
        ordered = problem.in_order(labels)
        inside = keep_fitting(problem, ordered, problem.random("fitting"))
        outside = sorted(set(ordered) - set(inside))
        trees.append(planner.leave_one_out(problem, inside, labels, outside))
    scores = yield from ask(*trees)
    return [as_candidate(problem, labels, score) for labels, score in zip(labellings, scores, strict=True)]


def by_folds(problem: Problem, labels: Labels, folds: int) -> Scoring:
    """Each labelled row given the labels outside its fold; related rows share a fold, unless most rows are related.

    The folds are consecutive in the labelling's own order. So half of the prompts begin with
    demonstrations that growth has already put into the server's prefix cache. Rows that do not
    fit as demonstrations are scored behind all those that do.
    """
    kept = set(keep_fitting(problem, labels, problem.random("fitting")))
    groups = _in_order(problem, list(labels))
    inside = [group for group in groups if kept.issuperset(group)]
    outside = [row for group in groups if not kept.issuperset(group) for row in group]
    [scores] = yield from ask(planner.held_out(problem, _divide(inside, folds), labels, also=outside))
    return scores


def predict(problem: Problem, labels: Labels, rows: Sequence[Row]) -> Scoring:
    """Scores of unlabelled rows given all labels, with the demonstrations in the labelling's order."""
    demonstrations = keep_fitting(problem, labels, problem.random("fitting"))
    [scores] = yield from ask(planner.behind(problem, demonstrations, labels, rows))
    return scores


def _in_order(problem: Problem, rows: Sequence[Row]) -> list[list[Row]]:
    """The rows by groups, in the order in which the groups first appear."""
    groups: dict[tuple[Row, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(problem.constraints.group_of[row], []).append(row)
    return list(groups.values())


def _divide(groups: Sequence[Sequence[Row]], folds: int) -> list[list[Row]]:
    """Divide the groups into consecutive parts of about the same number of rows."""
    total, seen = sum(map(len, groups)), 0
    parts: dict[int, list[Row]] = {}
    for piece in _pieces(groups, total, folds):
        parts.setdefault(seen * folds // total, []).extend(piece)
        seen += len(piece)
    return list(parts.values())


def _pieces(groups: Sequence[Sequence[Row]], total: int, folds: int) -> Iterator[Sequence[Row]]:
    """The groups; a group with more than half of all rows in pieces, or its rows would see hardly any labels."""
    size = math.ceil(total / folds)
    for group in groups:
        step = size if 2 * len(group) > total else len(group)
        yield from (group[start : start + step] for start in range(0, len(group), step))
