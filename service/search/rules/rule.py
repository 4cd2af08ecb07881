"""The interface of a rule between rows: it finds the conflicts of a labelling and describes itself to a linear model.

Each rule is a module beside this one and a member of `Rule` in `registry.py`.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

from service.identifiers import Label, Row

Labels = Mapping[Row, Label]
Conflict = tuple[Row, ...]  # rows that together break a rule, in order
Literal = tuple[Row, Label, bool]  # the row has the label, or (False) has another one
Clause = tuple[Literal, ...]  # the rule forbids that all of these are true at once
Broken = tuple[Conflict, Clause]
Terms = Mapping[int, float]  # column of the linear model: coefficient


class Scope(Protocol):
    """The rows and the label to which a constraint applies its rule."""

    @property
    def clusters(self) -> tuple[tuple[Row, ...], ...]:
        """The rows; those of a cluster count as one."""

    @property
    def label(self) -> Label:
        """The label that the rule counts; some rules ignore it."""

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """For a rule about ordered pairs of things: the two things that each cluster compares, numbered from 0."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all clusters."""


class Tally(Protocol):
    """A rule's running count over a partial labelling; it says at once whether one more row causes a conflict."""

    def add(self, row: Row, label: Label) -> None:
        """Add a row with its label."""

    def remove(self, row: Row, label: Label) -> None:
        """Undo `add`."""

    def breaks(self, row: Row, label: Label) -> bool:
        """Whether the row, which has this label, is part of a conflict."""

    def broken(self) -> Iterator[Broken]:
        """The conflicts, each with a clause that the labels violate; a conflict appears once for each such clause."""


class RuleModel(Protocol):
    """The linear model of a labelling, as far as a rule needs it to add its rows."""

    @property
    def classes(self) -> int:
        """The number of labels."""

    def knows(self, row: Row) -> bool:
        """Whether the row has a fixed label or gets one; the model ignores all other rows."""

    def add_column(self) -> int:
        """Add an auxiliary column from 0 to 1 for the rule; return its number."""

    def demand(
        self,
        literals: Iterable[Literal],
        extra: Terms | None = None,
        *,
        lower: float | None = None,
        upper: float | None = None,
    ) -> None:
        """Bound the number of true literals plus the sum of the extra columns."""


class RuleKind(Protocol):
    """One kind of rule. The method bodies here are the defaults, which fit most rules."""

    name: ClassVar[str]
    compares_things: ClassVar[bool] = False  # it needs `Scope.pairs`, so it cannot apply to a group or a pair of rows
    binds_one_cluster: ClassVar[bool] = False  # a single cluster can break it
    kept_by_one_label: ClassVar[bool]  # some labelling with a single label keeps it, whatever the clusters are
    clusters_with_label: ClassVar[tuple[int, int | None] | None] = None  # the fewest and the most; None: no bound

    @abstractmethod
    def tally(self, scope: Scope) -> Tally:
        """An empty tally."""

    def around(self, scope: Scope, rows: Collection[Row]) -> Sequence[int]:  # noqa: ARG002  # few rules use the rows
        """The numbers of the clusters that can be in one conflict with any of these rows."""
        return range(len(scope.clusters))

    def most_clusters(self, classes: int) -> int | None:  # noqa: ARG002  # few rules depend on it
        """The largest number of clusters that can keep the rule with `classes` labels; None: no limit."""
        return None

    def determines(self, scope: Scope, classes: int) -> bool:  # noqa: ARG002  # few rules do
        """Whether the label of any one row determines those of all others."""
        return False

    def without_a_cluster(self) -> "RuleKind | None":
        """The rule that holds among the other clusters if one cluster never gets a label; None: no rule."""
        return self

    def watched(self, scope: Scope, classes: int) -> Iterable[Label]:  # noqa: ARG002  # few rules watch all labels
        """The labels that the rule distinguishes from the others."""
        return (scope.label,)

    @abstractmethod
    def demand(self, scope: Scope, model: RuleModel) -> None:
        """Add rows that describe the rule to the model, as far as a few rows can; `violated` finds the rest."""

    def violated(
        self,
        scope: Scope,  # noqa: ARG002  # most rules describe themselves fully in `demand`
        knows: Callable[[Row], bool],  # noqa: ARG002
        truth: Callable[[Row, Label], float],  # noqa: ARG002
    ) -> Iterator[tuple[float, Clause]]:
        """The clauses that a fractional solution violates although it satisfies the rows of `demand`, and by how much.

        `truth` gives the value from 0 to 1 with which a row has a label, for every row that the model `knows`.
        """
        return iter(())
