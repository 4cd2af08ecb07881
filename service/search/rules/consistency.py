"""Logical consistency: rules between rows, the conflicts a labelling has, the labellings that have none."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from service.identifiers import Label, Row
from service.search.rules.registry import RULE_NAMED, Rule
from service.search.rules.rule import Broken, Clause, Conflict, Labels, Tally
from service.union_find import UnionFind

__all__ = ["Broken", "Clause", "Conflict", "Constraint", "Constraints", "Labels", "Rule", "TooManySteps"]


class TooManySteps(Exception):
    """The consistent labellings are too many, or too hard to find, to be listed."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A rule over clusters of rows; the rows of a cluster count as one.

    Under a rule about ordered pairs of things, `pairs` gives the pair that each cluster
    compares: numbers of things from 0, no pair twice.
    """

    rule: Rule
    clusters: tuple[tuple[Row, ...], ...]
    label: Label
    pairs: tuple[tuple[int, int], ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row the rule speaks of."""
        return tuple(itertools.chain.from_iterable(self.clusters))

    def tally(self) -> Tally:
        """An empty tally for the rule."""
        return self.rule.kind.tally(self)

    def around(self, rows: Collection[Row]) -> "Constraint":
        """The part of the rule that can put these rows in conflict."""
        numbers = self.rule.kind.around(self, rows)
        if len(numbers) == len(self.clusters):
            return self
        pairs = tuple(self.pairs[number] for number in numbers) if self.pairs else ()
        return Constraint(self.rule, tuple(self.clusters[number] for number in numbers), self.label, pairs)

    def without(self, left_out: Collection[Row]) -> "Constraint | None":
        """What the constraint says of the other rows; nothing where it cannot be broken without these."""
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
        """Whether so many labels are too few for the clusters."""
        most = self.rule.kind.most_clusters(classes)
        return most is not None and len(self.clusters) > most

    def broken(self, labels: Labels) -> Iterator[Broken]:
        """The conflicts of labelled rows, each with what must not be so at once."""
        tally = self.tally()
        for row in self.rows:
            if row in labels:
                tally.put(row, labels[row])
        return tally.broken()


class Constraints:
    """All rules of a problem, with the rules that touch a row and the groups that rules tie together."""

    def __init__(self, rows: Sequence[Row], constraints: Sequence[Constraint]) -> None:
        self._all = tuple(constraints)
        self._of_row: dict[Row, list[int]] = {row: [] for row in rows}
        for number, constraint in enumerate(constraints):
            for row in constraint.rows:
                self._of_row[row].append(number)
        self.groups = self._connect(rows)
        self.group_of = {row: group for group in self.groups for row in group}

    def _connect(self, rows: Sequence[Row]) -> tuple[tuple[Row, ...], ...]:
        """Connected components: rows that no rule ties to another stand alone."""
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
        """Every conflict, each once, in a fixed order: the I(D) of eq. 2 is their number."""
        return sorted({conflict for constraint in self._all for conflict, _ in constraint.broken(labels)})

    def conflicts_of(self, rows: Sequence[Row], labels: Labels) -> list[Conflict]:
        """The conflicts that any of the rows is part of, found by looking at the rules that touch them alone."""
        wanted = set(rows)
        found = {conflict for rule in self.of(rows) for conflict, _ in rule.around(wanted).broken(labels)}
        return sorted(conflict for conflict in found if not wanted.isdisjoint(conflict))

    def has_conflict(self, row: Row, labels: Labels) -> bool:
        """Whether the row is part of a conflict."""
        return bool(self.conflicts_of((row,), labels))

    def consistent(
        self, rows: Sequence[Row], fixed: Labels, classes: int, max_steps: int | None = None
    ) -> Iterator[dict[Row, Label]]:
        """Every labelling of these rows beside the fixed labels in which none of them is part of a conflict.

        In a fixed order, depth first; a branch is left at the first broken rule, so that the
        usual rules cost what their consistent labellings number, not what all labellings do.
        Raises TooManySteps after trying `max_steps` labels.
        """
        board = _Board(self._all, {row: self._of_row[row] for row in rows})
        board.place(self._numbers(rows), fixed)
        steps = itertools.count(1)
        chosen: list[int] = []
        candidate = 0  # the label to be tried next for rows[len(chosen)]
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
    """Labels put down one at a time, with a tally for every rule that watches them."""

    def __init__(self, constraints: Sequence[Constraint], watched: Mapping[Row, Sequence[int]]) -> None:
        self._constraints = constraints
        self._tallies = {n: constraints[n].tally() for n in set().union(*watched.values())}
        self._of_row = {row: [self._tallies[n] for n in dict.fromkeys(ns)] for row, ns in watched.items()}

    def place(self, numbers: Sequence[int], fixed: Labels) -> None:
        """Put down labels that stay."""
        for number in numbers:
            for row in self._constraints[number].rows:
                if row in fixed and row not in self._of_row:
                    self._tallies[number].put(row, fixed[row])

    def accepts(self, row: Row, label: Label) -> bool:
        """Put the label down if that makes the row part of no conflict."""
        for tally in self._of_row[row]:
            tally.put(row, label)
        if not any(tally.breaks(row, label) for tally in self._of_row[row]):
            return True
        self.remove(row, label)
        return False

    def remove(self, row: Row, label: Label) -> None:
        """Take the label away."""
        for tally in self._of_row[row]:
            tally.take(row, label)
