"""Which clauses of a transitive rule a solution in fractions violates."""

from collections.abc import Callable, Iterator

from service.identifiers import Row
from service.search.rules.consistency import Clause, Constraint

TOLERANCE = 1e-6

Truth = Callable[[Row], float]  # how far a row has the rule's label, from 0 to 1


def violated_paths(
    constraint: Constraint, known: Callable[[Row], bool], truth: Truth
) -> Iterator[tuple[float, Clause]]:
    """The clauses of which more is true than all but one literal, and by how much.

    A path of two claims must not be truer than what closes it allows.
    """
    paths = _Paths(constraint, known, truth)
    for one, seconds in paths.claims.items():
        allowed = paths.allowed.get(one, {})
        for other, first in seconds.items():
            for third, second in paths.claims.get(other, {}).items():
                if first + second > 1.0 + TOLERANCE and first + second > allowed.get(third, 2.0) + TOLERANCE:
                    yield first + second - allowed[third], paths.clause(one, other, third)


class _Paths:
    """The pairs of a transitive rule, as far as their rows are known."""

    def __init__(self, constraint: Constraint, known: Callable[[Row], bool], truth: Truth) -> None:
        self._rows = dict(zip(constraint.pairs, constraint.clusters, strict=True))
        self._label = constraint.label
        self._truth = {row: truth(row) for row in constraint.rows if known(row)}
        self.claims: dict[int, dict[int, float]] = {}  # [a][b]: how far (a, b) holds
        self.allowed: dict[int, dict[int, float]] = {}  # [a][c]: how true a path from a to c may be
        for (one, other), rows in self._rows.items():
            truths = [self._truth[row] for row in rows if row in self._truth]
            if not truths:
                continue
            self.claims.setdefault(one, {})[other] = max(truths)
            if len(truths) == len(rows):  # a row without a label may yet have it
                self.allowed.setdefault(one, {})[other] = 1.0 + sum(truths)
            if (other, one) not in self._rows:
                self.allowed.setdefault(other, {})[one] = 2.0 - max(truths)

    def clause(self, one: int, other: int, third: int) -> Clause:
        """The claims of the path, and what closes it."""
        path = [self._claimant(one, other), self._claimant(other, third)]
        if (one, third) in self._rows:
            return (*((row, self._label, True) for row in path), *self._denial(one, third))
        return tuple((row, self._label, True) for row in (*path, self._claimant(third, one)))

    def _claimant(self, one: int, other: int) -> Row:
        return max((row for row in self._rows[one, other] if row in self._truth), key=self._truth.__getitem__)

    def _denial(self, one: int, third: int) -> Clause:
        return tuple((row, self._label, False) for row in self._rows[one, third])
