"""Groups the related rows of a data set, from a stream of rows, and counts the rows that each relation ties."""

from collections.abc import Iterator, Sequence

from service.relations.columns import Fields
from service.relations.registry import Relation
from service.relations.relation import RelationCount, UnknownId
from service.union_find import UnionFind


class RelatedRows:
    """Finds the groups of related rows; keeps only keys and a few numbers per row."""

    def __init__(self, relations: Sequence[Relation]) -> None:
        self._rows = 0
        self._ties = [relation.tie() for relation in relations]

    def add(self, row: Fields, row_id: str) -> None:
        """Add the next row. Raises UnusableValue."""
        for tie in self._ties:
            tie.add(self._rows, row, row_id)
        self._rows += 1

    def groups(self) -> list[int]:
        """The group of every row added so far; groups are numbered from 0 by their first rows."""
        forest = UnionFind(self._rows)
        for tie in self._ties:
            for pair in tie.links():
                forest.join(*pair)
        return forest.groups()

    def counts(self) -> tuple[RelationCount, ...]:
        """The counts of each relation."""
        return tuple(tie.count(self._rows) for tie in self._ties)

    def unknown_ids(self) -> Iterator[UnknownId]:
        """The ids in pairs that no row has."""
        for number, tie in enumerate(self._ties):
            yield from tie.unknown_ids(number)

    def rows_lacking_their_twin(self) -> int:
        """The number of rows of antisymmetric relations without their twin."""
        return sum(tie.rows_lacking_their_twin() for tie in self._ties)
