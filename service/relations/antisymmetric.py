"""The relation `antisymmetric`: of a comparison and its twin in opposite order, exactly one has the label."""

from collections import Counter
from collections.abc import Hashable
from typing import Literal

from service.identifiers import Label
from service.relations.columns import Fields, Key, values_of
from service.relations.comparison import Comparison
from service.relations.keyed import Clusters, GroupTie
from service.relations.relation import RelationCount
from service.search.rules.consistency import Constraint, Rule


class AntisymmetricRelation(Comparison):
    """Exactly one of a row and its twin, with `first` and `second` swapped, has `label`."""

    kind: Literal["antisymmetric"]

    def room(self, found: RelationCount, rows: int) -> tuple[int, int]:
        """Exactly one row per pair of twins; if several rows compare the same things, that is only a lower bound."""
        are_pairs = found.rows == 2 * found.constraints
        return found.constraints, rows - found.constraints if are_pairs else rows

    def group_key(self, row: Fields) -> Key:
        """The values of the group's columns and the two things, whatever their order. Raises UnusableValue."""
        return (*values_of(self.group, row), *sorted(self.compared(row), key=repr))

    def constraint(self, clusters: Clusters, label: Label) -> Constraint | None:
        """The rule that exactly one of the twins has the label; None if a row has no twin."""
        return Constraint(Rule.EXACTLY_ONE, tuple(clusters.values()), label) if len(clusters) > 1 else None

    def tie(self) -> "TwinTie":
        """An empty TwinTie for this relation."""
        return TwinTie(self)


class TwinTie(GroupTie):
    """Ties twins, and counts the rows without a twin."""

    def __init__(self, relation: AntisymmetricRelation) -> None:
        super().__init__(relation)
        self._first_column, self._second_column, *self._group = relation.columns
        self._pairs: Counter[tuple[int, int]] = Counter()  # (hash of the pair, hash of its twin)

    def _take(self, position: int, row: Fields) -> None:
        super()._take(position, row)
        others = tuple(row[column] for column in self._group)
        key: Hashable = (row[self._first_column], row[self._second_column], others)
        twin: Hashable = (row[self._second_column], row[self._first_column], others)
        self._pairs[hash(key), hash(twin)] += 1

    def rows_lacking_their_twin(self) -> int:
        """The number of rows without a twin."""
        return sum(count for (pair, twin), count in self._pairs.items() if (twin, pair) not in self._pairs)
