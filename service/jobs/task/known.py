"""Reads the labels that the user is sure of from a column of the data set, and checks them against the relations."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from service.config import Task
from service.identifiers import Label, Row
from service.jobs.task.label_names import LabelNames
from service.jobs.task.relations import cells_of_relations, numbered_constraints, shown_lines
from service.relations.columns import Fields
from service.search.rules.consistency import Constraint, Constraints, TooManySteps
from service.values import as_text, is_blank, says_missing

MAX_CONTRADICTIONS = 100  # to report: known labels of one large group may break a rule in billions of pairs
MAX_CHECKED_GROUPS, MAX_STEPS = 1_000, 1_024  # limits of the search for a labelling of the other rows
_SHOWN_CHARACTERS = 50


class NoSuchLabel(ValueError):
    """A known label is not one of the task's labels."""


class KnownLabels:
    """Reads known labels from the task's `known_field`, by the same rule as gold labels (`LabelNames`)."""

    def __init__(self, task: Task) -> None:
        self._field, self._names = task.known_field, task.labels
        self._labels = LabelNames((name, Label(number)) for number, name in enumerate(task.labels))

    def of(self, fields: Fields) -> Label | None:
        """The row's known label; None if the column is null, blank or absent. Raises NoSuchLabel."""
        value = None if self._field is None else fields.get(self._field)
        if is_blank(value):
            return None
        if isinstance(value, list | dict):
            raise NoSuchLabel("a known label must be text, a number or true/false")
        found = self._labels.find(as_text(value))
        if found is None:
            shown = as_text(value)[:_SHOWN_CHARACTERS]
            blank = "; leave the cell blank where you know no label" if says_missing(value) else ""
            names = ", ".join(self._names)
            raise NoSuchLabel(f"the known label {shown!r} is none of the task's labels: {names}{blank}")
        return found

    def of_rows(self, rows: Mapping[Row, Fields]) -> dict[Row, Label]:
        """The labels of the known rows among these. Raises NoSuchLabel."""
        found = {row: self.of(fields) for row, fields in rows.items()}
        return {row: label for row, label in found.items() if label is not None}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Rows whose known labels cannot all be right, given the relations."""

    rows: tuple[Row, ...]
    reason: str

    def message(self, lines: Sequence[int]) -> str:
        """The contradiction as a message; `lines` has each row's line."""
        of = "label of line" if len(self.rows) == 1 else "labels of lines"
        return f"the known {of} {shown_lines(self.rows, lines)}: {self.reason}"


def contradictions(
    task: Task, rows: Iterable[Fields], groups: Sequence[int], known: Mapping[Row, Label]
) -> Iterator[Contradiction]:
    """The first contradictions among known labels; `rows` are all rows of the data set, `groups` the group of each.

    These are known labels that break a relation by themselves. If there are none, they are groups in which no
    labelling of the other rows avoids a conflict, as far as a short search can decide.
    """
    tied = {groups[row] for row in known}
    related = cells_of_relations(task, (row for row in enumerate(rows) if groups[row[0]] in tied))
    rules = [
        (f"they break the relation {task.relations[number].kind} (relations.{number})", constraint)
        for number, constraint in numbered_constraints(task, related)
    ]
    direct = itertools.islice(_direct(rules, known), MAX_CONTRADICTIONS)
    if (first := next(direct, None)) is not None:
        yield from (first, *direct)
        return
    yield from _indirect(list(related), [rule for _, rule in rules], known, len(task.labels))


def _direct(rules: Iterable[tuple[str, Constraint]], known: Mapping[Row, Label]) -> Iterator[Contradiction]:
    """Known labels that break a rule by themselves."""
    for reason, rule in rules:
        seen: set[tuple[Row, ...]] = set()
        for conflict, _ in rule.broken(known):
            if conflict not in seen:
                seen.add(conflict)
                yield Contradiction(conflict, reason)


def _indirect(
    rows: Sequence[Row], rules: Sequence[Constraint], known: Mapping[Row, Label], classes: int
) -> Iterator[Contradiction]:
    """Groups in which every labelling with the known labels breaks a rule, though other labellings keep all rules."""
    constraints = Constraints(rows, rules)
    for group in constraints.groups[:MAX_CHECKED_GROUPS]:
        fixed = {row: known[row] for row in group if row in known}
        free = [row for row in group if row not in known]
        try:
            possible = any(True for _ in constraints.consistent(free, fixed, classes, MAX_STEPS))
            blame = not possible and any(True for _ in constraints.consistent(group, {}, classes, MAX_STEPS))
        except TooManySteps:
            continue
        if blame:
            yield Contradiction(tuple(fixed), "no labelling of the rows related to them keeps the relations")
