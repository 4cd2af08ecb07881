"""What one rule between rows brings: what it counts, when it is broken, and its rows of the linear model.

Each rule is a module beside this one and a member of `Rule` in `registry.py`.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

from service.identifiers import Label, Row

Labels = Mapping[Row, Label]
Conflict = tuple[Row, ...]  # rows that together break a rule, in order
Literal = tuple[Row, Label, bool]  # the row has the label, or (False) has another one
Clause = tuple[Literal, ...]  # not all of these at once
Broken = tuple[Conflict, Clause]
Terms = Mapping[int, float]  # column of the linear model: coefficient


class Scope(Protocol):
    """The rows that one constraint is about."""

    @property
    def clusters(self) -> tuple[tuple[Row, ...], ...]:
        """The rows; those of a cluster count as one."""

    @property
    def label(self) -> Label:
        """The label that is counted, where the rule counts one."""

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Of a rule about ordered pairs of things: the pair that each cluster compares, as numbers from 0."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all clusters."""


class Tally(Protocol):
    """A rule's count over a labelling that grows and shrinks by single rows, so that one more row is judged at once."""

    def put(self, row: Row, label: Label) -> None:
        """Take in a row's label."""

    def take(self, row: Row, label: Label) -> None:
        """Undo `put`."""

    def breaks(self, row: Row, label: Label) -> bool:
        """Whether the row, which has this label, is part of a conflict."""

    def broken(self) -> Iterator[Broken]:
        """The conflicts, each with a clause that the labels violate; a conflict may come with several."""


class RuleModel(Protocol):
    """A linear model of labels, as a rule sees it that puts its rows in."""

    @property
    def classes(self) -> int:
        """How many labels there are."""

    def knows(self, row: Row) -> bool:
        """Whether the row has a label or gets one; any other row is left out of account."""

    def add_column(self) -> int:
        """A column from 0 to 1 of the rule's own; its number."""

    def demand(
        self,
        literals: Iterable[Literal],
        extra: Terms | None = None,
        *,
        lower: float | None = None,
        upper: float | None = None,
    ) -> None:
        """Bound how many of the literals are true, plus extra columns."""


class RuleKind(Protocol):
    """A rule. Where a method has a body, that is the answer of most rules."""

    name: ClassVar[str]
    compares_things: ClassVar[bool] = False  # it needs `Scope.pairs`, so that a group or a pair of rows cannot have it
    binds_one_cluster: ClassVar[bool] = False  # a cluster that stands alone can break it
    kept_by_one_label: ClassVar[bool]  # some labelling with a single label keeps it, whatever the clusters are
    clusters_with_label: ClassVar[tuple[int, int | None] | None] = None  # the fewest and the most; None: no bound

    @abstractmethod
    def tally(self, scope: Scope) -> Tally:
        """An empty tally."""

    def around(self, scope: Scope, rows: Collection[Row]) -> Sequence[int]:  # noqa: ARG002  # few rules use the rows
        """The numbers of the clusters that can be in conflict together with any of the rows."""
        return range(len(scope.clusters))

    def most_clusters(self, classes: int) -> int | None:  # noqa: ARG002  # few rules need so many labels
        """How many clusters can keep the rule with so many labels; None: any number."""
        return None

    def determines(self, scope: Scope, classes: int) -> bool:  # noqa: ARG002  # few rules do
        """Whether the label of any one row tells those of the others."""
        return False

    def without_a_cluster(self) -> "RuleKind | None":
        """What is left of the rule where a cluster exists whose label nobody will know; None: nothing."""
        return self

    def watched(self, scope: Scope, classes: int) -> Iterable[Label]:  # noqa: ARG002  # few rules watch all labels
        """The labels that the rule tells from the others."""
        return (scope.label,)

    @abstractmethod
    def demand(self, scope: Scope, model: RuleModel) -> None:
        """Put rows into the model that say the rule, as far as a few rows can."""

    def violated(
        self,
        scope: Scope,  # noqa: ARG002  # most rules have said all in `demand`
        knows: Callable[[Row], bool],  # noqa: ARG002
        truth: Callable[[Row, Label], float],  # noqa: ARG002
    ) -> Iterator[tuple[float, Clause]]:
        """The clauses that a solution in fractions violates beyond what `demand` said, and by how much.

        `truth` tells how far a row that `knows` names has a label, from 0 to 1.
        """
        return iter(())
