"""Logical consistency: finds the conflicts of a labelling with the rules, and lists the labellings without any."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from service.identifiers import Label, Row
from service.search.rules.registry import RULE_NAMED, Rule
from service.search.rules.rule import Broken, Clause, Conflict, Labels, Tally
from service.union_find import UnionFind

__all__ = ["Broken", "Clause", "Conflict", "Constraint", "Constraints", "Labels", "Rule", "TooManySteps"]


class TooManySteps(Exception):
    """The search for consistent labellings tried its maximum of labels before it was through."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A rule applied to clusters of rows; the rows of a cluster count as one.

    A rule about ordered pairs of things needs `pairs`: for each cluster the two things that it
    compares, numbered from 0. No two clusters compare the same pair.
    """

    rule: Rule
    clusters: tuple[tuple[Row, ...], ...]
    label: Label
    pairs: tuple[tuple[int, int], ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all clusters."""
        return tuple(itertools.chain.from_iterable(self.clusters))

    def tally(self) -> Tally:
        """An empty tally for the rule."""
        return self.rule.kind.tally(self)

    def around(self, rows: Collection[Row]) -> "Constraint":
        """The same constraint over only those clusters that can be in conflict with these rows."""
        numbers = self.rule.kind.around(self, rows)
        if len(numbers) == len(self.clusters):
            return self
        pairs = tuple(self.pairs[number] for number in numbers) if self.pairs else ()
        return Constraint(self.rule, tuple(self.clusters[number] for number in numbers), self.label, pairs)

    def without(self, left_out: Collection[Row]) -> "Constraint | None":
        """The constraint that is left for the other rows; None if they cannot break it."""
        if not any(row in left_out for row in self.rows):
            return self
        kept = [tuple(row for row in cluster if row not in left_out) for cluster in self.clusters]
        places = [place for place, cluster in enumerate(kept) if cluster]
        kind = self.rule.kind if len(places) == len(kept) else self.rule.kind.without_a_cluster()
        clusters = tuple(kept[place] for place in places)
        if kind is None or (sum(map(len, clusters)) < 2 and not kind.binds_one_cluster):
            return None
        pairs = tuple(self.pairs[place] for place in places) if self.pairs else ()
        return Constraint(RULE_NAMED[kind.name], clusters, self.label, pairs)

    def lacks_labels(self, classes: int) -> bool:
        """Whether `classes` labels are too few for all clusters to keep the rule."""
        most = self.rule.kind.most_clusters(classes)
        return most is not None and len(self.clusters) > most

    def broken(self, labels: Labels) -> Iterator[Broken]:
        """The conflicts among labelled rows, each with the clause that the labels violate."""
        tally = self.tally()
        for row in self.rows:
            if row in labels:
                tally.add(row, labels[row])
        return tally.broken()


class Constraints:
    """All constraints of a problem; finds those of a row, and the groups of rows that constraints tie together."""

    def __init__(self, rows: Sequence[Row], constraints: Sequence[Constraint]) -> None:
        self._all = tuple(constraints)
        self._of_row: dict[Row, list[int]] = {row: [] for row in rows}
        for number, constraint in enumerate(constraints):
            for row in constraint.rows:
                self._of_row[row].append(number)
        self.groups = self._connect(rows)
        self.group_of = {row: group for group in self.groups for row in group}

    def _connect(self, rows: Sequence[Row]) -> tuple[tuple[Row, ...], ...]:
        """The connected components; a row that no rule ties to another is a group of its own."""
        place = {row: number for number, row in enumerate(rows)}
        forest = UnionFind(len(rows))
        for constraint in self._all:
            forest.join(*map(place.__getitem__, constraint.rows))
        groups: dict[int, list[Row]] = {}
        for row, group in zip(rows, forest.groups(), strict=True):
            groups.setdefault(group, []).append(row)
        return tuple(tuple(sorted(group)) for group in groups.values())

    def of(self, rows: Sequence[Row]) -> tuple[Constraint, ...]:
        """The rules that touch any of the rows."""
        return tuple(self._all[number] for number in self._numbers(rows))

    def _numbers(self, rows: Sequence[Row]) -> list[int]:
        return sorted({number for row in rows for number in self._of_row[row]})

    def mates(self, row: Row) -> tuple[Row, ...]:
        """The other rows of the row's group."""
        return tuple(mate for mate in self.group_of[row] if mate != row)

    def conflicts(self, labels: Labels) -> list[Conflict]:
        """Every conflict once, in a fixed order; I(D) of eq. 2 is their number."""
        return sorted({conflict for constraint in self._all for conflict, _ in constraint.broken(labels)})

    def conflicts_of(self, rows: Sequence[Row], labels: Labels) -> list[Conflict]:
        """The conflicts of any of these rows; checks only the rules that touch them."""
        wanted = set(rows)
        found = {conflict for rule in self.of(rows) for conflict, _ in rule.around(wanted).broken(labels)}
        return sorted(conflict for conflict in found if not wanted.isdisjoint(conflict))

    def consistent(
        self, rows: Sequence[Row], fixed: Labels, classes: int, max_steps: int | None = None
    ) -> Iterator[dict[Row, Label]]:
        """Every labelling of these rows in which, beside the fixed labels, none of them is part of a conflict.

        The search goes depth first in a fixed order and abandons a branch at the first broken rule. So
        for the usual rules its cost grows with the number of consistent labellings, not of all labellings.
        Raises TooManySteps after trying `max_steps` labels.
        """
        board = _Board(self._all, {row: self._of_row[row] for row in rows})
        board.place(self._numbers(rows), fixed)
        steps = itertools.count(1)
        chosen: list[int] = []
        candidate = 0  # the label to try next for rows[len(chosen)]
        while True:
            if len(chosen) == len(rows):
                yield dict(zip(rows, map(Label, chosen), strict=True))
            elif candidate < classes:
                if next(steps) == max_steps:
                    raise TooManySteps
                if board.accepts(rows[len(chosen)], Label(candidate)):
                    chosen.append(candidate)
                    candidate = 0
                else:
                    candidate += 1
                continue
            if not chosen:
                return
            candidate = chosen.pop()
            board.remove(rows[len(chosen)], Label(candidate))
            candidate += 1


class _Board:
    """A partial labelling of some rows, with a tally for every rule that touches them."""

    def __init__(self, constraints: Sequence[Constraint], watched: Mapping[Row, Sequence[int]]) -> None:
        self._constraints = constraints
        self._tallies = {n: constraints[n].tally() for n in set().union(*watched.values())}
        self._of_row = {row: [self._tallies[n] for n in dict.fromkeys(ns)] for row, ns in watched.items()}

    def place(self, numbers: Sequence[int], fixed: Labels) -> None:
        """Add labels that never change."""
        for number in numbers:
            for row in self._constraints[number].rows:
                if row in fixed and row not in self._of_row:
                    self._tallies[number].add(row, fixed[row])

    def accepts(self, row: Row, label: Label) -> bool:
        """Add the label unless the row is then part of a conflict; return whether it was added."""
        for tally in self._of_row[row]:
            tally.add(row, label)
        if not any(tally.breaks(row, label) for tally in self._of_row[row]):
            return True
        self.remove(row, label)
        return False

    def remove(self, row: Row, label: Label) -> None:
        """Remove the row's label."""
        for tally in self._of_row[row]:
            tally.remove(row, label)
