"""The rule `at_most_one`: at most one cluster of rows has the label (the rows of a cluster count as one)."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import ClassVar

from service.identifiers import Label, Row
from service.search.rules.rule import Broken, Literal, RuleKind, RuleModel, Scope


class AtMostOneTally:
    """Counts the clusters that have the label (`label=None`: any one label) and the rows that have no label yet."""

    def __init__(self, clusters: Sequence[Sequence[Row]], label: Label | None) -> None:
        self._cluster = {row: number for number, cluster in enumerate(clusters) for row in cluster}
        self._label = label
        self._unlabelled = len(self._cluster)
        self._with: dict[Label, dict[int, set[Row]]] = defaultdict(dict)  # cluster -> its rows; never an empty set

    def add(self, row: Row, label: Label) -> None:
        """Add a row with its label."""
        self._unlabelled -= 1
        if self._label in (None, label):
            self._with[label].setdefault(self._cluster[row], set()).add(row)

    def remove(self, row: Row, label: Label) -> None:
        """Undo `add`."""
        self._unlabelled += 1
        if self._label in (None, label):
            rows = self._with[label][self._cluster[row]]
            rows.remove(row)
            if not rows:
                del self._with[label][self._cluster[row]]

    def breaks(self, row: Row, label: Label) -> bool:  # noqa: ARG002  # every row with the label is in the conflict
        """Whether the row, which has this label, is part of a conflict."""
        return self._label in (None, label) and len(self._with[label]) > 1

    def broken(self) -> Iterator[Broken]:
        """The pairs of rows in different clusters that have the same label."""
        for label, clusters in self._with.items():
            for one, other in itertools.combinations(clusters.values(), 2):
                for pair in itertools.product(one, other):
                    yield tuple(sorted(pair)), tuple((row, label, True) for row in pair)


def demand_at_most_one(scope: Scope, label: Label, model: RuleModel) -> None:
    """Add rows to the linear model which say that at most one cluster has the label."""
    singles: list[Literal] = []
    clusters: dict[int, float] = {}
    for cluster in scope.clusters:
        claims = [(row, label, True) for row in cluster if model.knows(row)]
        if len(claims) < 2:
            singles += claims
            continue
        column = model.add_column()
        clusters[column] = 1.0
        for claim in claims:
            model.demand([claim], {column: -1.0}, upper=0.0)
    model.demand(singles, clusters, upper=1.0)


class AtMostOne(RuleKind):
    """At most one cluster has the label."""

    name: ClassVar = "at_most_one"
    kept_by_one_label: ClassVar = True
    clusters_with_label: ClassVar = (0, 1)

    def tally(self, scope: Scope) -> AtMostOneTally:
        """An empty tally."""
        return AtMostOneTally(scope.clusters, scope.label)

    def demand(self, scope: Scope, model: RuleModel) -> None:
        """Put the rule into the model."""
        demand_at_most_one(scope, scope.label, model)
