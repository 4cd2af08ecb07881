"""The rule `different_label`: no two clusters of rows share a label (the rows of a cluster count as one)."""

from collections.abc import Iterable
from typing import ClassVar

from service.identifiers import Label
from service.search.rules.at_most_one import AtMostOneTally, demand_at_most_one
from service.search.rules.rule import RuleKind, RuleModel, Scope


class DifferentLabel(RuleKind):
    """Each label occurs in at most one cluster."""

    name: ClassVar = "different_label"
    kept_by_one_label: ClassVar = False

    def tally(self, scope: Scope) -> AtMostOneTally:
        """An empty tally."""
        return AtMostOneTally(scope.clusters, None)

    def most_clusters(self, classes: int) -> int:
        """Each cluster needs a label of its own."""
        return classes

    def determines(self, scope: Scope, classes: int) -> bool:
        """With two rows and two labels, the label of one row determines the other's."""
        return classes == 2 and len(scope.clusters) == len(scope.rows) == 2

    def watched(self, scope: Scope, classes: int) -> Iterable[Label]:  # noqa: ARG002  # the rule counts every label
        """All labels."""
        return map(Label, range(classes))

    def demand(self, scope: Scope, model: RuleModel) -> None:
        """Put the rule into the model."""
        for label in map(Label, range(model.classes)):
            demand_at_most_one(scope, label, model)
