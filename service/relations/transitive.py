"""The relation `transitive`: if (a, b) and (b, c) have the label, then so has (a, c)."""

from array import array
from collections.abc import Hashable, Iterator
from typing import Literal

from service.identifiers import Label
from service.relations.columns import Fields, Key, values_of
from service.relations.comparison import Comparison
from service.relations.keyed import Clusters, KeyedTie
from service.search.rules.consistency import Constraint, Rule


class TransitiveRelation(Comparison):
    """If the rows (a, b) and (b, c) have `label`, the row (a, c) has it, too; a circle of such rows is a conflict."""

    kind: Literal["transitive"]

    def group_key(self, row: Fields) -> Key:
        """The values of the group's columns; only rows with the same key are tied by things. Raises UnusableValue."""
        return values_of(self.group, row)

    def constraint(self, clusters: Clusters, label: Label) -> Constraint:
        """The rule over all pairs of the group's things, which are numbered here."""
        numbers: dict[Hashable, int] = {}
        pairs = tuple(
            (numbers.setdefault(first, len(numbers)), numbers.setdefault(second, len(numbers)))
            for first, second in clusters
        )
        return Constraint(Rule.TRANSITIVE, tuple(clusters.values()), label, pairs)

    def tie(self) -> "ThingTie":
        """An empty ThingTie for this relation."""
        return ThingTie(self)


class ThingTie(KeyedTie):
    """Ties rows that share a thing, if they compare two of three things that are all compared with each other."""

    def __init__(self, relation: TransitiveRelation) -> None:
        super().__init__(relation)
        self._comparison = relation
        self._number: dict[tuple[Key, Hashable], int] = {}
        self._rows, self._firsts, self._seconds = array("I"), array("I"), array("I")

    def _take(self, position: int, row: Fields) -> None:
        key = self._comparison.group_key(row)
        first, second = (
            self._number.setdefault((key, thing), len(self._number)) for thing in self._comparison.compared(row)
        )
        self._rows.append(position)
        self._firsts.append(first)
        self._seconds.append(second)

    def links(self) -> Iterator[tuple[int, int]]:
        """See Tie."""
        neighbours, row_of_thing = self._neighbours(), dict[int, int]()
        for row, first, second in zip(self._rows, self._firsts, self._seconds, strict=True):
            if not neighbours[first].isdisjoint(neighbours[second]):
                yield row_of_thing.setdefault(first, row), row
                yield row_of_thing.setdefault(second, row), row

    def constraints(self) -> int:
        """The number of triples of things that are all compared with each other."""
        neighbours = self._neighbours()
        pairs = ((one, other) for one, others in enumerate(neighbours) for other in others if one < other)
        return sum(len(neighbours[one] & neighbours[other]) for one, other in pairs) // 3

    def _neighbours(self) -> list[set[int]]:
        """For each thing, the things with which some row compares it."""
        neighbours: list[set[int]] = [set() for _ in self._number]
        for first, second in zip(self._firsts, self._seconds, strict=True):
            neighbours[first].add(second)
            neighbours[second].add(first)
        return neighbours
