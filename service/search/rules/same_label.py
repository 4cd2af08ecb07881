"""The rule `same_label`: all rows have the same label."""

import itertools
from collections.abc import Iterable, Iterator
from typing import ClassVar

from service.identifiers import Label, Row
from service.search.rules.rule import Broken, RuleKind, RuleModel, Scope


class SameLabelTally:
    """The rows by label."""

    def __init__(self) -> None:
        self._rows: dict[Label, set[Row]] = {}  # never an empty set

    def add(self, row: Row, label: Label) -> None:
        """Add a row with its label."""
        self._rows.setdefault(label, set()).add(row)

    def remove(self, row: Row, label: Label) -> None:
        """Undo `add`."""
        self._rows[label].remove(row)
        if not self._rows[label]:
            del self._rows[label]

    def breaks(self, row: Row, label: Label) -> bool:  # noqa: ARG002  # any second label makes every row disagree
        """Whether the row, which has this label, is part of a conflict."""
        return len(self._rows) > 1

    def broken(self) -> Iterator[Broken]:
        """The pairs of rows with different labels."""
        for (label, rows), (_, others) in itertools.combinations(self._rows.items(), 2):
            for row, other in itertools.product(rows, others):
                yield tuple(sorted((row, other))), ((row, label, True), (other, label, False))


class SameLabel(RuleKind):
    """All rows have the same label, within a cluster and across clusters."""

    name: ClassVar = "same_label"
    kept_by_one_label: ClassVar = True

    def tally(self, scope: Scope) -> SameLabelTally:  # noqa: ARG002  # the tally needs only the labels
        """An empty tally."""
        return SameLabelTally()

    def determines(self, scope: Scope, classes: int) -> bool:  # noqa: ARG002  # true of any rows
        """Every row has the label of every other."""
        return True

    def watched(self, scope: Scope, classes: int) -> Iterable[Label]:  # noqa: ARG002  # the rule counts every label
        """All labels."""
        return map(Label, range(classes))

    def demand(self, scope: Scope, model: RuleModel) -> None:
        """Put the rule into the model: every row agrees with the first."""
        rows = [row for row in scope.rows if model.knows(row)]
        for row, label in itertools.product(rows[1:], map(Label, range(model.classes))):
            model.demand([(row, label, True), (rows[0], label, False)], lower=1.0, upper=1.0)
