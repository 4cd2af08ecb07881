"""Chooses the labelled rows that a prompt shows as demonstrations if not all of them fit."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from random import Random

from service.identifiers import Label, Row
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem


def keep_fitting(problem: Problem, labels: Labels, rng: Random) -> list[Row]:
    """The labelled rows to show as demonstrations, in the labelling's order; all of them if they fit."""
    rows = list(labels)
    if has_room(problem, rows):
        return rows
    kept = set(balanced_beginning(problem, labels, rng))
    return [row for row in rows if row in kept]


def balanced_beginning(problem: Problem, labels: Labels, rng: Random) -> list[Row]:
    """As many labelled rows as fit, balanced over the labels.

    Takes whole groups of related rows in random order, each time the next group with the label
    that was taken least so far. So frequent labels do not crowd a rare one out of the prompt. With
    less room, the same seed gives a beginning of the same list, so prompts of any length share it.
    """
    kept: list[Row] = []
    for group in _balanced(problem, labels, rng):
        if not has_room(problem, [*kept, *group]):
            break
        kept.extend(group)
    return kept


def beginning_text(problem: Problem, demonstrations: Sequence[tuple[Row, Label]]) -> str:
    """These demonstrations as text in this order, some perhaps several times; the last ones drop out if not all fit."""
    shown = list(demonstrations)
    while not has_room(problem, [row for row, _ in shown]):
        shown.pop()
    return "".join(problem.demonstration(row, label) for row, label in shown)


def balanced_order(problem: Problem, labels: Labels, rng: Random) -> list[Row]:
    """All labelled rows in random order, related ones side by side; every prefix of it is balanced over the labels."""
    return [row for group in _balanced(problem, labels, rng) for row in group]


def _balanced(problem: Problem, labels: Labels, rng: Random) -> Iterator[list[Row]]:
    """Each group with labelled rows once; the next group comes from the queue of the label taken least so far."""
    waiting = [[row for row in group if row in labels] for group in rng.sample(problem.groups, len(problem.groups))]
    queues = {
        label: deque(group for group in waiting if any(labels[row] == label for row in group))
        for label in sorted(set(labels.values()))
    }
    shown, seen = Counter[Label](), set[Row]()
    while queues:
        rarest = min(queues, key=lambda label: (shown[label], label))
        group = queues[rarest].popleft() if queues[rarest] else []
        if not group:
            del queues[rarest]
        elif not seen.issuperset(group):
            seen.update(group)
            shown.update(labels[row] for row in group)
            yield group


def has_room(problem: Problem, rows: Sequence[Row]) -> bool:
    """Whether these rows fit a prompt together as demonstrations."""
    within_tokens = problem.budget_tokens is None or problem.tokens(rows) <= problem.budget_tokens
    return within_tokens and (problem.max_demonstrations is None or len(rows) <= problem.max_demonstrations)
