"""Finds which rows of a data set belong together while they stream by, and counts what each relation ties."""

from collections.abc import Iterator, Sequence

from service.relations.columns import Fields
from service.relations.registry import Relation
from service.relations.relation import RelationCount, UnknownId
from service.union_find import UnionFind


class RelatedRows:
    """Takes in one row after the other; keeps a few numbers per row, and the keys seen."""

    def __init__(self, relations: Sequence[Relation]) -> None:
        self._rows = 0
        self._ties = [relation.tie() for relation in relations]

    def add(self, row: Fields, row_id: str) -> None:
        """Take in the next row. Raises UnusableValue."""
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
        """What each relation ties."""
        return tuple(tie.count(self._rows) for tie in self._ties)

    def unknown_ids(self) -> Iterator[UnknownId]:
        """The pairs that name a row that is not there."""
        for number, tie in enumerate(self._ties):
            yield from tie.unknown_ids(number)

    def rows_lacking_their_twin(self) -> int:
        """Rows of antisymmetric relations whose swapped twin is not there."""
        return sum(tie.rows_lacking_their_twin() for tie in self._ties)
