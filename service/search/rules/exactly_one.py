"""The rule `exactly_one`: exactly one cluster of rows has the label (the rows of a cluster count as one)."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from service.identifiers import Label, Row
from service.search.rules.at_most_one import AtMostOne, AtMostOneTally, demand_at_most_one
from service.search.rules.rule import Broken, RuleKind, RuleModel, Scope


class ExactlyOneTally(AtMostOneTally):
    """Counts the clusters that have the label; "none has it" is a conflict only once all rows are labelled."""

    def __init__(self, clusters: Sequence[Sequence[Row]], label: Label) -> None:
        super().__init__(clusters, label)
        self._counted = label

    def breaks(self, row: Row, label: Label) -> bool:  # noqa: ARG002  # every row of the rule is in the conflict
        """Whether the row, which has this label, is part of a conflict."""
        having = self._with[self._counted]
        return (label == self._counted and len(having) > 1) if having else not self._unlabelled

    def broken(self) -> Iterator[Broken]:
        """The conflicting pairs; all rows together if no row has the label."""
        yield from super().broken()
        if not self._unlabelled and not self._with[self._counted]:
            rows = tuple(sorted(self._cluster))
            yield rows, tuple((row, self._counted, False) for row in rows)


class ExactlyOne(RuleKind):
    """Exactly one cluster has the label."""

    name: ClassVar = "exactly_one"
    binds_one_cluster: ClassVar = True
    kept_by_one_label: ClassVar = False
    clusters_with_label: ClassVar = (1, 1)

    def tally(self, scope: Scope) -> ExactlyOneTally:
        """An empty tally."""
        return ExactlyOneTally(scope.clusters, scope.label)

    def determines(self, scope: Scope, classes: int) -> bool:
        """With two rows and two labels, the label of one row determines the other's."""
        return classes == 2 and len(scope.clusters) == len(scope.rows) == 2

    def without_a_cluster(self) -> AtMostOne:
        """At most one: the cluster that is left out may be the one with the label."""
        return AtMostOne()

    def demand(self, scope: Scope, model: RuleModel) -> None:
        """Put the rule into the model; demand at least one only if the model knows every row."""
        demand_at_most_one(scope, scope.label, model)
        if all(map(model.knows, scope.rows)):
            model.demand([(row, scope.label, True) for row in scope.rows], lower=1.0)
