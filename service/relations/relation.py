"""What one kind of relation brings: what users write, which rows it ties, and the constraints it puts on them.

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


class Tie(ABC):
    """Which rows one relation ties, as they stream by; keeps a few numbers of each, and the keys seen."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._themselves = self._blank = 0  # rows that are left out

    @abstractmethod
    def add(self, position: int, row: Fields, row_id: str) -> None:
        """Take in the next row. Raises UnusableValue."""

    @abstractmethod
    def links(self) -> Iterator[tuple[int, int]]:
        """Pairs of rows that connect each group."""

    @abstractmethod
    def constraints(self) -> int:
        """How many constraints the relation puts on the rows."""

    def unknown_ids(self, relation: int) -> Iterator[UnknownId]:  # noqa: ARG002  # few kinds read ids
        """The ids that the relation with this number names and no row has."""
        return iter(())

    def rows_lacking_their_twin(self) -> int:
        """Rows whose swapped twin is not there, where the relation needs one."""
        return 0

    def count(self, rows: int) -> RelationCount:
        """What the relation makes of so many rows."""
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
        )


class BaseRelation(StrictModel, ABC):
    """A relation as users write it. Where a method has a body, that is the answer of most kinds."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns the relation reads."""

    @property
    def reads_ids(self) -> bool:
        """Whether its columns hold ids of other rows, and so may hold lists."""
        return False

    @property
    def may_contradict_itself(self) -> bool:
        """Whether no labelling may keep the relation, even where it stands alone."""
        return False

    def room(self, found: RelationCount, rows: int) -> tuple[int, int] | None:  # noqa: ARG002  # few kinds count a label
        """The fewest and the most of so many rows that can have its label, as far as counts tell; None: any number."""
        return None

    @abstractmethod
    def tie(self) -> Tie:
        """What finds the rows that the relation ties."""

    @abstractmethod
    def constraints(
        self, label: Label, rows: Mapping[Row, Fields], positions: Mapping[str, Row]
    ) -> Iterator[Constraint]:
        """The constraints on these rows, those that cannot be broken left out; `positions` gives the row of each id."""
