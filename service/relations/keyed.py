"""The common part of relations that tie rows by a key, which they compute from some columns."""

from abc import abstractmethod
from array import array
from collections.abc import Hashable, Iterator, Mapping
from unicodedata import normalize

from service.identifiers import Label, Row
from service.relations.columns import Fields, Key
from service.relations.relation import BaseRelation, Tie
from service.search.rules.consistency import Constraint
from service.values import is_blank, says_missing

Clusters = Mapping[Key, tuple[Row, ...]]  # the rows of a group; those of a cluster count as one


class KeyedRelation(BaseRelation):
    """A relation that groups rows by one key, and by another key divides each group into clusters that count as one."""

    @abstractmethod
    def group_key(self, row: Fields) -> Key:
        """The key that all rows of a group share. Raises UnusableValue."""

    @abstractmethod
    def cluster_key(self, position: int, row: Fields) -> Key:
        """The key that all rows of a cluster share within their group. Raises UnusableValue."""

    @abstractmethod
    def constraint(self, clusters: Clusters, label: Label) -> Constraint | None:
        """The constraint on a group; None if no labelling can break it."""

    def takes_part(self, row: Fields) -> bool:
        """Whether the relation applies to the row.

        It does not if one of its columns is null or blank (as in SQL, null equals nothing), or if the row
        compares a thing with itself.
        """
        return not self.leaves_out(row) and not self.compares_with_itself(row)

    def leaves_out(self, row: Fields) -> bool:
        """Whether a column that the relation reads is null or blank in the row."""
        return any(is_blank(row[column]) for column in self.columns)

    def compares_with_itself(self, row: Fields) -> bool:  # noqa: ARG002  # most relations compare nothing
        """Whether the row compares a thing with itself. Raises UnusableValue."""
        return False

    def constraints(
        self,
        label: Label,
        rows: Mapping[Row, Fields],
        positions: Mapping[str, Row],  # noqa: ARG002  # only `pairs` needs ids
    ) -> Iterator[Constraint]:
        """A constraint for each group that can break the rule."""
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
    """Passes on the rows to which the relation applies, and counts the others."""

    def __init__(self, relation: KeyedRelation) -> None:
        super().__init__(relation.kind)
        self._relation = relation

    def add(self, position: int, row: Fields, row_id: str) -> None:  # noqa: ARG002  # only `pairs` needs ids
        """See Tie."""
        if self._relation.takes_part(row):
            self._said_missing += any(says_missing(row[column]) for column in self._relation.columns)
            self._take(position, row)
            return
        self._blank += self._relation.leaves_out(row)
        self._themselves += self._relation.compares_with_itself(row)

    @abstractmethod
    def _take(self, position: int, row: Fields) -> None:
        """Add a row to which the relation applies."""


class GroupTie(KeyedTie):
    """Ties the rows of each group with several clusters; with `binds_one_cluster`, also of groups with one."""

    def __init__(self, relation: KeyedRelation, *, binds_one_cluster: bool = False) -> None:
        super().__init__(relation)
        self._binds_one_cluster = binds_one_cluster
        self._number: dict[Key, int] = {}
        self._first = array("I")  # by key: its first row
        self._cluster = array("q")  # by key: hash of the first row's cluster; a collision would only miscount
        self._divided = bytearray()  # by key: 1 if it has several clusters
        self._member_key, self._members = array("I"), array("I")

    def _take(self, position: int, row: Fields) -> None:
        number = self._number.setdefault(self._relation.group_key(row), len(self._first))
        cluster = hash(self._relation.cluster_key(position, row))
        if number == len(self._first):
            self._first.append(position)
            self._cluster.append(cluster)
            self._divided.append(0)
        self._divided[number] |= cluster != self._cluster[number]
        self._members.append(position)
        self._member_key.append(number)

    def links(self) -> Iterator[tuple[int, int]]:
        """See Tie."""
        for number, member in zip(self._member_key, self._members, strict=True):
            if self._divided[number] or self._binds_one_cluster:
                yield self._first[number], member

    def constraints(self) -> int:
        """The number of groups that can be in conflict."""
        return len(self._divided) if self._binds_one_cluster else sum(self._divided)

    def look_alikes(self) -> Iterator[tuple[str, str]]:
        """See Tie."""
        seen: dict[Key, Key] = {}
        for key in self._number:
            other = seen.setdefault(tuple(map(_folded, key)), key)
            if other != key:
                yield next((str(one), str(two)) for one, two in zip(other, key, strict=True) if one != two)

    def groups_of_one(self) -> int:
        """See Tie."""
        return len(self._divided) - sum(self._divided) if self._binds_one_cluster else 0


def _folded(value: Hashable) -> Hashable:
    """Equal for texts that people take for the same: spaces, case and composed accents do not count."""
    return " ".join(normalize("NFC", value).casefold().split()) if isinstance(value, str) else value
