"""Which clauses of a transitive rule a solution in fractions violates."""

from collections.abc import Callable, Iterator

from service.identifiers import Row
from service.search.consistency import Clause, Constraint

TOLERANCE = 1e-6

Truth = Callable[[Row], float]  # how far a row has the rule's label, from 0 to 1


def violated_paths(
    constraint: Constraint, known: Callable[[Row], bool], truth: Truth
) -> Iterator[tuple[float, Clause]]:
    """The clauses of which more is true than all but one literal, and by how much.

    Two claims that are hardly true in sum violate nothing, so most paths end at their second step.
    """
    search = _Paths(constraint, known, truth)
    for one, seconds in search.claims.items():
        for other, (row, first) in seconds.items():
            for third, (next_row, second) in search.claims.get(other, {}).items():
                if third != one and first + second > 1.0 + TOLERANCE:
                    closing, excess = search.closing(one, third)
                    if first + second + excess > 1.0 + TOLERANCE:
                        path = ((row, constraint.label, True), (next_row, constraint.label, True))
                        yield first + second + excess - 1.0, path + closing


class _Paths:
    """The pairs of a transitive rule, as far as their rows are known."""

    def __init__(self, constraint: Constraint, known: Callable[[Row], bool], truth: Truth) -> None:
        self._rows = dict(zip(constraint.pairs, constraint.clusters, strict=True))
        self._label = constraint.label
        self._truth = {row: truth(row) for row in constraint.rows if known(row)}
        self.claims: dict[int, dict[int, tuple[Row, float]]] = {}  # of each pair, the row that claims it most
        for (one, other), rows in self._rows.items():
            known_rows = [row for row in rows if row in self._truth]
            if known_rows:
                row = max(known_rows, key=self._truth.__getitem__)
                self.claims.setdefault(one, {})[other] = (row, self._truth[row])

    def closing(self, one: int, third: int) -> tuple[Clause, float]:
        """What must not be true as well at the end of a path, and by how much its truth falls short (0: not at all)."""
        rows = self._rows.get((one, third))
        if rows is not None:
            if not all(row in self._truth for row in rows):
                return (), -1.0  # a row without a label may yet have it
            return tuple((row, self._label, False) for row in rows), -sum(self._truth[row] for row in rows)
        claim = self.claims.get(third, {}).get(one)
        if claim is None:
            return (), -1.0
        return ((claim[0], self._label, True),), claim[1] - 1.0
