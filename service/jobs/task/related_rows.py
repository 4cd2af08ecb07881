"""Finds which rows of a data set belong together while they stream by, and counts what each relation ties."""

import itertools
from array import array
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.config import AntisymmetricRelation, GroupRelation, PairsRelation, Relation, TransitiveRelation
from service.jobs.task.relations import (
    Key,
    cluster_key,
    compared,
    compares_with_itself,
    group_key,
    leaves_out,
    references,
    takes_part,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationCount:
    """What one relation makes of a data set."""

    kind: str
    rows: int  # it speaks of
    constraints: int  # groups, pairs, or triples of things, that can be in conflict
    largest_group: int  # rows it ties together by itself
    rows_related_to_themselves: int  # left out: they say nothing
    rows_left_blank: int  # left out: a column it reads is null or blank there; of `pairs` none, which need no partner


@dataclass(frozen=True, slots=True)
class UnknownId:
    """A pair names an id that no row has."""

    relation: int
    id: str
    pair: tuple[str, str]
    row: int | None = None  # that names it in this column; None where the configuration does
    column: str | None = None


class RelatedRows:
    """Takes in one row after the other; keeps a few numbers per row, and the keys seen."""

    def __init__(self, relations: Sequence[Relation]) -> None:
        self._rows = 0
        self._ties = [_tie(relation) for relation in relations]

    def add(self, row: Mapping[str, Any], row_id: str) -> None:
        """Take in the next row. Raises UnusableValue."""
        for tie in self._ties:
            tie.add(self._rows, row, row_id)
        self._rows += 1

    def groups(self) -> list[int]:
        """The group of every row added so far; groups are numbered from 0 by their first rows."""
        forest = _Forest(self._rows)
        for tie in self._ties:
            for one, other in tie.links():
                forest.join(one, other)
        return forest.groups()

    def counts(self) -> tuple[RelationCount, ...]:
        """What each relation ties."""
        return tuple(tie.count(self._rows) for tie in self._ties)

    def unknown_ids(self) -> Iterator[UnknownId]:
        """The pairs that name a row that is not there."""
        for number, tie in enumerate(self._ties):
            if isinstance(tie, _ByIds):
                yield from tie.unknown(number)


class _Forest:
    """Union-find over rows."""

    def __init__(self, rows: int) -> None:
        self._parents = array("I", range(rows))

    def root(self, row: int) -> int:
        while self._parents[row] != row:
            self._parents[row] = self._parents[self._parents[row]]
            row = self._parents[row]
        return row

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first

    def groups(self) -> list[int]:
        numbers: dict[int, int] = {}
        return [numbers.setdefault(self.root(row), len(numbers)) for row in range(len(self._parents))]


class _Tie:
    """Which rows one relation ties."""

    def __init__(self, relation: Relation) -> None:
        self._kind = relation.kind
        self._themselves = self._blank = 0

    def add(self, position: int, row: Mapping[str, Any], row_id: str) -> None:
        raise NotImplementedError

    def links(self) -> Iterator[tuple[int, int]]:
        """Pairs of rows that connect each group."""
        raise NotImplementedError

    def constraints(self) -> int:
        raise NotImplementedError

    def count(self, rows: int) -> RelationCount:
        forest, touched = _Forest(rows), set[int]()
        for one, other in self.links():
            forest.join(one, other)
            touched |= {one, other}
        sizes = Counter(map(forest.root, touched))
        return RelationCount(
            kind=self._kind,
            rows=len(touched),
            constraints=self.constraints(),
            largest_group=max(sizes.values(), default=0),
            rows_related_to_themselves=self._themselves,
            rows_left_blank=self._blank,
        )


class _ByKey(_Tie):
    """Rows that agree in some columns are tied."""

    def __init__(self, relation: GroupRelation | AntisymmetricRelation) -> None:
        super().__init__(relation)
        self._relation = relation
        self._number: dict[Key, int] = {}
        self._first = array("I")  # row of each key
        self._cluster = array("q")  # hash of the first row's cluster: a collision would only miscount
        self._divided = bytearray()  # 1 where rows of different clusters have the key
        self._member_key, self._members = array("I"), array("I")

    def add(self, position: int, row: Mapping[str, Any], row_id: str) -> None:  # noqa: ARG002  # others need the id
        relation = self._relation
        if not takes_part(relation, row):
            self._blank += leaves_out(relation, row)
            self._themselves += compares_with_itself(relation, row)
            return
        number = self._number.setdefault(group_key(relation, row), len(self._first))
        cluster = hash(cluster_key(relation, position, row))
        if number == len(self._first):
            self._first.append(position)
            self._cluster.append(cluster)
            self._divided.append(relation.kind == "exactly_one")
        self._divided[number] |= cluster != self._cluster[number]
        self._members.append(position)
        self._member_key.append(number)

    def links(self) -> Iterator[tuple[int, int]]:
        for number, member in zip(self._member_key, self._members, strict=True):
            if self._divided[number]:
                yield self._first[number], member

    def constraints(self) -> int:
        return sum(self._divided)


class _ByThings(_Tie):
    """Rows that compare things of which three are compared with each other are tied by the things they share."""

    def __init__(self, relation: TransitiveRelation) -> None:
        super().__init__(relation)
        self._relation = relation
        self._number: dict[tuple[Key, Hashable], int] = {}
        self._rows, self._firsts, self._seconds = array("I"), array("I"), array("I")

    def add(self, position: int, row: Mapping[str, Any], row_id: str) -> None:  # noqa: ARG002  # others need the id
        if not takes_part(self._relation, row):
            self._blank += leaves_out(self._relation, row)
            self._themselves += compares_with_itself(self._relation, row)
            return
        key = group_key(self._relation, row)
        first, second = (
            self._number.setdefault((key, thing), len(self._number)) for thing in compared(self._relation, row)
        )
        self._rows.append(position)
        self._firsts.append(first)
        self._seconds.append(second)

    def links(self) -> Iterator[tuple[int, int]]:
        neighbours, row_of_thing = self._neighbours(), dict[int, int]()
        for row, first, second in zip(self._rows, self._firsts, self._seconds, strict=True):
            if not neighbours[first].isdisjoint(neighbours[second]):
                yield row_of_thing.setdefault(first, row), row
                yield row_of_thing.setdefault(second, row), row

    def constraints(self) -> int:
        neighbours = self._neighbours()
        pairs = ((one, other) for one, others in enumerate(neighbours) for other in others if one < other)
        return sum(len(neighbours[one] & neighbours[other]) for one, other in pairs) // 3

    def _neighbours(self) -> list[set[int]]:
        """The things that each thing is compared with."""
        neighbours: list[set[int]] = [set() for _ in self._number]
        for first, second in zip(self._firsts, self._seconds, strict=True):
            neighbours[first].add(second)
            neighbours[second].add(first)
        return neighbours


class _ByIds(_Tie):
    """Rows that are named together are tied; an id may be named before its row comes."""

    def __init__(self, relation: PairsRelation) -> None:
        super().__init__(relation)
        self._column, self._pairs = relation.column, relation.pairs or ()
        self._position: dict[str, int] = {}
        self._namers, self._named = array("I"), list[str]()  # the row that names, the id it names

    def add(self, position: int, row: Mapping[str, Any], row_id: str) -> None:
        ids = [] if self._column is None else references(self._column, row)
        self._position[row_id] = position
        for id_ in ids:
            if id_ == row_id:
                self._themselves += 1
            else:
                self._namers.append(position)
                self._named.append(id_)

    def links(self) -> Iterator[tuple[int, int]]:
        named = itertools.chain(
            zip(self._namers, map(self._position.get, self._named), strict=True),
            ((self._position.get(one), self._position.get(other)) for one, other in self._pairs),
        )
        return ((one, other) for one, other in named if one is not None and other is not None)

    def constraints(self) -> int:
        return len({(min(pair), max(pair)) for pair in self.links()})

    def unknown(self, relation: int) -> Iterator[UnknownId]:
        """The pairs that name a row that is not there."""
        for pair in self._pairs:
            yield from (UnknownId(relation, id_, pair) for id_ in pair if id_ not in self._position)
        ids = {row: id_ for id_, row in self._position.items()} if self._namers else {}
        for row, id_ in zip(self._namers, self._named, strict=True):
            if id_ not in self._position:
                yield UnknownId(relation, id_, (ids[row], id_), row, self._column)


def _tie(relation: Relation) -> _Tie:
    match relation:
        case PairsRelation():
            return _ByIds(relation)
        case TransitiveRelation():
            return _ByThings(relation)
        case _:
            return _ByKey(relation)
