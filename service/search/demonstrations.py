"""Which labelled rows stand in a prompt as demonstrations when not all of them fit."""

from collections import Counter
from collections.abc import Sequence
from random import Random

from service.identifiers import Label, Row
from service.search.consistency import Labels
from service.search.problem import Problem


def keep_fitting(problem: Problem, labels: Labels, rng: Random) -> list[Row]:
    """The labelled rows that serve as demonstrations, in the labelling's order; all of them where they fit.

    Otherwise whole groups of related rows in random order, each time the next one that holds the
    label shown least so far, so that a rare label as found is not crowded out of the prompt.
    """
    rows = list(labels)
    if _fits(problem, rows):
        return rows
    waiting = [[row for row in group if row in labels] for group in rng.sample(problem.groups, len(problem.groups))]
    kept = _balanced(problem, labels, [group for group in waiting if group])
    return [row for row in rows if row in kept]


def _balanced(problem: Problem, labels: Labels, waiting: Sequence[Sequence[Row]]) -> set[Row]:
    """Groups taken one after the other from the queue of the rarest label, until nothing more fits."""
    queues = {
        label: [group for group in waiting if any(labels[row] == label for row in group)]
        for label in sorted(set(labels.values()))
    }
    kept, shown, used = set[Row](), Counter[Label](), 0
    while queues:
        rarest = min(queues, key=lambda label: (shown[label], label))
        if not queues[rarest]:
            del queues[rarest]
            continue
        group = queues[rarest].pop(0)
        tokens = problem.tokens(group)
        if kept.issuperset(group) or not _has_room(problem, len(kept) + len(group), used + tokens):
            continue
        kept.update(group)
        shown.update(labels[row] for row in group)
        used += tokens
    return kept


def _fits(problem: Problem, rows: Sequence[Row]) -> bool:
    return _has_room(problem, len(rows), problem.tokens(rows))


def _has_room(problem: Problem, rows: int, tokens: int) -> bool:
    within_tokens = problem.budget_tokens is None or tokens <= problem.budget_tokens
    return within_tokens and (problem.max_demonstrations is None or rows <= problem.max_demonstrations)
