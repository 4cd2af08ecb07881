"""Logical consistency: rules between rows, the conflicts a labelling has, the labellings that have none."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from service.identifiers import Label, Row

Labels = Mapping[Row, Label]
Conflict = tuple[Row, Row]


class Rule(StrEnum):
    """What a constraint demands."""

    AT_MOST_ONE = "at_most_one"  # no two clusters have the label
    EXACTLY_ONE = "exactly_one"  # one cluster has the label, the others do not
    SAME_LABEL = "same_label"  # all rows agree
    DIFFERENT_LABEL = "different_label"  # no two clusters share a label


@dataclass(frozen=True, slots=True)
class Constraint:
    """A rule over clusters of rows; the rows of a cluster count as one."""

    rule: Rule
    clusters: tuple[tuple[Row, ...], ...]
    label: Label

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row the rule speaks of."""
        return tuple(itertools.chain.from_iterable(self.clusters))

    def conflicts(self, labels: Labels) -> Iterator[Conflict]:
        """The pairs of labelled rows that break the rule; (row, row) where a row breaks it alone."""
        match self.rule:
            case Rule.AT_MOST_ONE:
                yield from self._pairs_with_label(labels)
            case Rule.EXACTLY_ONE:
                yield from self._pairs_with_label(labels)
                if all(row in labels and labels[row] != self.label for row in self.rows):
                    yield self.clusters[0][0], self.clusters[-1][0]
            case Rule.SAME_LABEL:
                known = [row for row in self.rows if row in labels]
                yield from ((a, b) for a, b in itertools.combinations(known, 2) if labels[a] != labels[b])
            case Rule.DIFFERENT_LABEL:
                yield from ((a, b) for a, b in self._pairs_across(labels) if labels[a] == labels[b])

    def _pairs_with_label(self, labels: Labels) -> Iterator[Conflict]:
        return ((a, b) for a, b in self._pairs_across(labels) if labels[a] == labels[b] == self.label)

    def _pairs_across(self, labels: Labels) -> Iterator[Conflict]:
        """Pairs of labelled rows from different clusters."""
        known = [[row for row in cluster if row in labels] for cluster in self.clusters]
        for one, other in itertools.combinations(known, 2):
            yield from itertools.product(one, other)


class Constraints:
    """All rules of a problem, with the rules that touch a row and the groups that rules tie together."""

    def __init__(self, rows: Sequence[Row], constraints: Sequence[Constraint]) -> None:
        self._all = tuple(constraints)
        self._of_row: dict[Row, list[Constraint]] = {row: [] for row in rows}
        for constraint in constraints:
            for row in constraint.rows:
                self._of_row[row].append(constraint)
        self.groups = self._connect(rows)
        self.group_of = {row: group for group in self.groups for row in group}

    def _connect(self, rows: Sequence[Row]) -> tuple[tuple[Row, ...], ...]:
        """Connected components: rows that no rule ties to another stand alone."""
        groups, seen = [], set[Row]()
        for start in rows:
            if start in seen:
                continue
            group, frontier = [], [start]
            seen.add(start)
            while frontier:
                group.append(row := frontier.pop())
                mates = {mate for constraint in self._of_row[row] for mate in constraint.rows} - seen
                seen |= mates
                frontier.extend(mates)
            groups.append(tuple(sorted(group)))
        return tuple(groups)

    def mates(self, row: Row) -> tuple[Row, ...]:
        """The other rows of the row's group."""
        return tuple(mate for mate in self.group_of[row] if mate != row)

    def conflicts(self, labels: Labels) -> list[Conflict]:
        """Every conflicting pair, each once, in a fixed order: the I(D) of eq. 2 is their number."""
        return sorted({pair for constraint in self._all for pair in constraint.conflicts(labels)})

    def has_conflict(self, row: Row, labels: Labels) -> bool:
        """Whether a rule that touches the row is broken."""
        return any(next(constraint.conflicts(labels), None) for constraint in self._of_row[row])

    def consistent(self, rows: Sequence[Row], fixed: Labels, classes: int) -> Iterator[dict[Row, Label]]:
        """Every labelling of these rows that breaks no rule beside the fixed labels, in a fixed order.

        Depth first; a branch is left at the first broken rule, so that the usual rules cost
        what their consistent labellings number, not what all labellings do.
        """
        labels = dict(fixed)
        yield from self._complete(list(rows), labels, classes)

    def _complete(self, rows: list[Row], labels: dict[Row, Label], classes: int) -> Iterator[dict[Row, Label]]:
        if not rows:
            yield {}
            return
        row, rest = rows[0], rows[1:]
        for label in map(Label, range(classes)):
            labels[row] = label
            if not self.has_conflict(row, labels):
                for completion in self._complete(rest, labels, classes):
                    yield {row: label, **completion}
        del labels[row]
