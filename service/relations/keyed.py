"""What the relations share that tie rows by what they have in common in some columns."""

from abc import abstractmethod
from array import array
from collections.abc import Iterator, Mapping

from service.identifiers import Label, Row
from service.relations.columns import Fields, Key
from service.relations.relation import BaseRelation, Tie
from service.search.rules.consistency import Constraint
from service.values import is_blank

Clusters = Mapping[Key, tuple[Row, ...]]  # the rows of a group, those together that count as one


class KeyedRelation(BaseRelation):
    """Rows with one key form a group, and those of them that count as one a cluster."""

    @abstractmethod
    def group_key(self, row: Fields) -> Key:
        """What the rows of one group have in common. Raises UnusableValue."""

    @abstractmethod
    def cluster_key(self, position: int, row: Fields) -> Key:
        """What the rows of a group have in common that count as one. Raises UnusableValue."""

    @abstractmethod
    def constraint(self, clusters: Clusters, label: Label) -> Constraint | None:
        """The constraint on a group; None where it cannot be broken."""

    def takes_part(self, row: Fields) -> bool:
        """Whether the relation speaks of the row.

        Not where a column it reads is null or blank (as in SQL null equals nothing), nor where a
        thing would be compared with itself.
        """
        return not self.leaves_out(row) and not self.compares_with_itself(row)

    def leaves_out(self, row: Fields) -> bool:
        """Whether a column that the relation reads is null or blank in the row."""
        return any(is_blank(row[column]) for column in self.columns)

    def compares_with_itself(self, row: Fields) -> bool:  # noqa: ARG002  # most relations compare nothing
        """Whether the row says something of one thing twice. Raises UnusableValue."""
        return False

    def constraints(
        self,
        label: Label,
        rows: Mapping[Row, Fields],
        positions: Mapping[str, Row],  # noqa: ARG002  # rows are not named by their ids
    ) -> Iterator[Constraint]:
        """A constraint for each group."""
        groups: dict[Key, dict[Key, list[Row]]] = {}
        for position, row in rows.items():
            if self.takes_part(row):
                clusters = groups.setdefault(self.group_key(row), {})
                clusters.setdefault(self.cluster_key(position, row), []).append(position)
        for clusters in groups.values():
            found = self.constraint({key: tuple(cluster) for key, cluster in clusters.items()}, label)
            if found is not None:
                yield found


class KeyedTie(Tie):
    """Counts the rows that take no part."""

    def __init__(self, relation: KeyedRelation, kind: str) -> None:
        super().__init__(kind)
        self._relation = relation

    def add(self, position: int, row: Fields, row_id: str) -> None:  # noqa: ARG002  # rows are not named by their ids
        """Take in the next row. Raises UnusableValue."""
        if self._relation.takes_part(row):
            self._take(position, row)
            return
        self._blank += self._relation.leaves_out(row)
        self._themselves += self._relation.compares_with_itself(row)

    @abstractmethod
    def _take(self, position: int, row: Fields) -> None:
        """Take in a row that takes part."""


class GroupTie(KeyedTie):
    """Ties the rows of a group that has several clusters; one is enough where the rule `binds_one_cluster`."""

    def __init__(self, relation: KeyedRelation, kind: str, *, binds_one_cluster: bool = False) -> None:
        super().__init__(relation, kind)
        self._binds_one_cluster = binds_one_cluster
        self._number: dict[Key, int] = {}
        self._first = array("I")  # row of each key
        self._cluster = array("q")  # hash of the first row's cluster: a collision would only miscount
        self._divided = bytearray()  # 1 where rows of different clusters have the key
        self._member_key, self._members = array("I"), array("I")

    def _take(self, position: int, row: Fields) -> None:
        number = self._number.setdefault(self._relation.group_key(row), len(self._first))
        cluster = hash(self._relation.cluster_key(position, row))
        if number == len(self._first):
            self._first.append(position)
            self._cluster.append(cluster)
            self._divided.append(self._binds_one_cluster)
        self._divided[number] |= cluster != self._cluster[number]
        self._members.append(position)
        self._member_key.append(number)

    def links(self) -> Iterator[tuple[int, int]]:
        """Pairs of rows that connect each group."""
        for number, member in zip(self._member_key, self._members, strict=True):
            if self._divided[number]:
                yield self._first[number], member

    def constraints(self) -> int:
        """How many groups can be in conflict."""
        return sum(self._divided)
