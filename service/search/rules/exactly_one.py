"""Exactly one cluster of rows has the label."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from service.identifiers import Label, Row
from service.search.rules.at_most_one import AtMostOne, AtMostOneTally, demand_at_most_one
from service.search.rules.rule import Broken, RuleKind, RuleModel, Scope


class ExactlyOneTally(AtMostOneTally):
    """Which clusters have the label; that one lacks is known once all rows are labelled."""

    def __init__(self, clusters: Sequence[Sequence[Row]], label: Label) -> None:
        super().__init__(clusters, label)
        self._counted = label

    def breaks(self, row: Row, label: Label) -> bool:  # noqa: ARG002  # every row of the rule shares in what is broken
        """Whether the row, which has this label, is part of a conflict."""
        having = self._with[self._counted]
        return (label == self._counted and len(having) > 1) if having else not self._unlabelled

    def broken(self) -> Iterator[Broken]:
        """The conflicting pairs; all rows where none has the label."""
        yield from super().broken()
        if not self._unlabelled and not self._with[self._counted]:
            rows = tuple(sorted(self._cluster))
            yield rows, tuple((row, self._counted, False) for row in rows)


class ExactlyOne(RuleKind):
    """One cluster has the label, the others have not."""

    name: ClassVar = "exactly_one"
    binds_one_cluster: ClassVar = True
    kept_by_one_label: ClassVar = False
    clusters_with_label: ClassVar = (1, 1)

    def tally(self, scope: Scope) -> ExactlyOneTally:
        """An empty tally."""
        return ExactlyOneTally(scope.clusters, scope.label)

    def determines(self, scope: Scope, classes: int) -> bool:
        """Of two rows and two labels, the one tells the other."""
        return classes == 2 and len(scope.clusters) == len(scope.rows) == 2

    def without_a_cluster(self) -> AtMostOne:
        """The cluster that is left out may be the one."""
        return AtMostOne()

    def demand(self, scope: Scope, model: RuleModel) -> None:
        """Put the rule into the model; one is needed only where every row takes part."""
        demand_at_most_one(scope, scope.label, model)
        if all(map(model.knows, scope.rows)):
            model.demand([(row, scope.label, True) for row in scope.rows], lower=1.0)
