"""The interface of a kind of relation: its configuration, the rows that it ties, and the constraints on them.

Each kind is a module beside this one and a line of `registry.py`.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.identifiers import Label, Row
from service.relations.columns import Fields
from service.search.rules.consistency import Constraint
from service.strict_model import StrictModel
from service.union_find import UnionFind


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationCount:
    """The rows and constraints of one relation in a data set."""

    kind: str
    rows: int  # rows that the relation ties to others
    constraints: int  # groups, pairs, or triples of things that can be in conflict
    largest_group: int  # size of the largest set of rows that this relation alone ties together
    rows_related_to_themselves: int  # ignored, since they state nothing
    rows_left_blank: int  # ignored, since a column of the relation is null or blank; 0 for `pairs`
    rows_said_missing: int = 0  # not ignored, although a column says NA, null or the like; 0 for `pairs`
    groups_of_one: int = 0  # whose label the relation decides
    look_alikes: tuple[tuple[str, str], ...] = ()  # values of groups that differ only in spaces or case


@dataclass(frozen=True, slots=True)
class UnknownId:
    """An id in a pair that no row has."""

    relation: int
    id: str
    pair: tuple[str, str]
    row: int | None = None  # the row whose `column` names it; None if the configuration names it
    column: str | None = None


class Tie(ABC):
    """Collects the rows that one relation ties, from a stream of rows; keeps only keys and a few numbers per row."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._themselves = self._blank = 0  # rows that the relation ignores
        self._said_missing = 0

    @abstractmethod
    def add(self, position: int, row: Fields, row_id: str) -> None:
        """Add the next row. Raises UnusableValue."""

    @abstractmethod
    def links(self) -> Iterator[tuple[int, int]]:
        """Pairs of rows that connect all rows of each tied group."""

    @abstractmethod
    def constraints(self) -> int:
        """The number of constraints that the relation puts on the rows."""

    def unknown_ids(self, relation: int) -> Iterator[UnknownId]:  # noqa: ARG002  # few kinds read ids
        """The ids named by this relation, whose number is given, that no row has."""
        return iter(())

    def rows_lacking_their_twin(self) -> int:
        """The number of rows without the twin that the relation needs."""
        return 0

    def groups_of_one(self) -> int:
        """The number of groups of one row, or of rows that count as one, whose label the relation decides."""
        return 0

    def look_alikes(self) -> Iterator[tuple[str, str]]:
        """Values that keep groups apart although they differ only in spaces or case."""
        return iter(())

    def count(self, rows: int) -> RelationCount:
        """The counts for a data set of this many rows, after all of them were added."""
        forest, touched = UnionFind(rows), set[int]()
        for pair in self.links():
            forest.join(*pair)
            touched.update(pair)
        sizes = Counter(map(forest.root, touched))
        return RelationCount(
            kind=self._kind,
            rows=len(touched),
            constraints=self.constraints(),
            largest_group=max(sizes.values(), default=0),
            rows_related_to_themselves=self._themselves,
            rows_left_blank=self._blank,
            rows_said_missing=self._said_missing,
            groups_of_one=self.groups_of_one(),
            look_alikes=tuple(self.look_alikes()),
        )


class BaseRelation(StrictModel, ABC):
    """A relation as users write it in the configuration. The method bodies here are defaults, which fit most kinds."""

    kind: str

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns the relation reads."""

    @property
    def reads_ids(self) -> bool:
        """Whether its columns hold ids of other rows, and thus may hold lists."""
        return False

    @property
    def may_contradict_itself(self) -> bool:
        """Whether there can be data sets for which no labelling keeps the relation, even without other relations."""
        return False

    def room(self, found: RelationCount, rows: int) -> tuple[int, int] | None:  # noqa: ARG002  # few kinds count a label
        """The fewest and the most of `rows` rows that can have the relation's label; None if it sets no bounds."""
        return None

    @abstractmethod
    def tie(self) -> Tie:
        """An empty tie, to which the caller adds all rows."""

    @abstractmethod
    def constraints(
        self, label: Label, rows: Mapping[Row, Fields], positions: Mapping[str, Row]
    ) -> Iterator[Constraint]:
        """The constraints on these rows that a labelling can break; `positions` has the row of each id."""
