"""The rule `transitive`: if (a, b) and (b, c) have the label, (a, c) has it too; a strict order, without cycles.

A data set of comparisons has far too many clauses for a linear model. So the rule adds none in advance:
`violated` finds those that a solution violates (*separation*).
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import ClassVar

from service.identifiers import Label, Row
from service.search.rules.rule import Broken, Clause, Conflict, Literal, RuleKind, RuleModel, Scope

TOLERANCE = 1e-6


class Transitive(RuleKind):
    """If the clusters that compare (a, b) and (b, c) have the label, the cluster that compares (a, c) has it too."""

    name: ClassVar = "transitive"
    compares_things: ClassVar = True
    kept_by_one_label: ClassVar = True

    def tally(self, scope: Scope) -> "TransitiveTally":
        """An empty tally."""
        return TransitiveTally(scope)

    def around(self, scope: Scope, rows: Collection[Row]) -> Sequence[int]:
        """The clusters that share a thing with a cluster of these rows."""
        pairs = list(zip(scope.pairs, scope.clusters, strict=True))
        things = {thing for pair, cluster in pairs if not set(cluster).isdisjoint(rows) for thing in pair}
        return [number for number, pair in enumerate(scope.pairs) if not things.isdisjoint(pair)]

    def demand(self, scope: Scope, model: RuleModel) -> None:
        """Add nothing: `violated` supplies the clauses as they are needed."""

    def violated(
        self, scope: Scope, knows: Callable[[Row], bool], truth: Callable[[Row, Label], float]
    ) -> Iterator[tuple[float, Clause]]:
        """The clauses of all paths (a, b), (b, c) whose truth exceeds what (a, c) allows."""
        return _Paths(scope, knows, truth).violated()


class TransitiveTally:
    """Counts which pairs of things hold and which are denied.

    A pair *holds* as soon as one of its rows has the label, and is *denied* once all its rows
    have other labels. If (a, b) and (b, c) hold, that is a conflict if (a, c) is denied, or if
    (a, c) has no rows and (c, a) holds. Sets of things are bits of integers, since intersections
    are all the work.
    """

    def __init__(self, scope: Scope) -> None:
        pairs = dict(zip(scope.pairs, scope.clusters, strict=True))
        self._rows, self._label = pairs, scope.label
        self._pair = {row: pair for pair, rows in pairs.items() for row in rows}
        self._labels: dict[tuple[int, int], dict[Row, Label]] = {pair: {} for pair in pairs}
        size = 1 + max(itertools.chain.from_iterable(pairs), default=-1)
        self._holds, self._held_by = [0] * size, [0] * size  # [a]: the things b such that (a, b), or (b, a), holds
        self._denied, self._denied_by = [0] * size, [0] * size
        self._rowless, self._rowless_by = [-1] * size, [-1] * size
        for one, other in pairs:
            self._rowless[one] &= ~(1 << other)
            self._rowless_by[other] &= ~(1 << one)

    def add(self, row: Row, label: Label) -> None:
        """Add a row with its label."""
        pair = self._pair[row]
        self._labels[pair][row] = label
        self._update(pair)

    def remove(self, row: Row, label: Label) -> None:  # noqa: ARG002  # the counterpart of `add`, which needs it
        """Undo `add`."""
        pair = self._pair[row]
        del self._labels[pair][row]
        self._update(pair)

    def _update(self, pair: tuple[int, int]) -> None:
        one, other = pair
        labels = self._labels[pair]
        holds = self._label in labels.values()
        denied = not holds and len(labels) == len(self._rows[pair])
        self._holds[one] = _with_bit(self._holds[one], other, on=holds)
        self._held_by[other] = _with_bit(self._held_by[other], one, on=holds)
        self._denied[one] = _with_bit(self._denied[one], other, on=denied)
        self._denied_by[other] = _with_bit(self._denied_by[other], one, on=denied)

    def breaks(self, row: Row, label: Label) -> bool:  # noqa: ARG002  # the pair's other rows count as well
        """Whether the row's pair is part of a conflict among three things."""
        one, other = self._pair[row]
        return self._broken_beside(one, other) or self._broken_beside(other, one)

    def _broken_beside(self, one: int, other: int) -> bool:
        """Whether some third thing completes a conflict in which `one` comes before `other` on the path."""
        between = self._holds[one] & self._held_by[other] if self._not_after(one) >> other & 1 else 0
        if not self._holds[one] >> other & 1:
            return bool(between)
        behind = self._holds[other] & self._not_after(one)
        before = self._held_by[one] & self._not_before(other)
        return bool(between or behind or before)

    def _not_after(self, thing: int) -> int:
        """The things that no path of two pairs may reach from this one."""
        return self._denied[thing] | (self._rowless[thing] & self._held_by[thing])

    def _not_before(self, thing: int) -> int:
        """The things from which no path of two pairs may reach this one."""
        return self._denied_by[thing] | (self._rowless_by[thing] & self._holds[thing])

    def broken(self) -> Iterator[Broken]:
        """For each path in conflict: the labelled rows between any two of its three things, and the violated clause."""
        for one, reached in enumerate(self._holds):
            forbidden = self._not_after(one)
            for other in _bits(reached):
                for third in _bits(self._holds[other] & forbidden):
                    yield self._between(one, other, third), self._clause(one, other, third)

    def _between(self, *things: int) -> Conflict:
        rows = (self._labels.get(pair, {}) for pair in itertools.permutations(things, 2))
        return tuple(sorted(itertools.chain.from_iterable(rows)))

    def _clause(self, one: int, other: int, third: int) -> Clause:
        path = (self._claim((one, other)), self._claim((other, third)))
        if (one, third) in self._rows:
            return (*path, *((row, self._label, False) for row in self._rows[one, third]))
        return (*path, self._claim((third, one)))

    def _claim(self, pair: tuple[int, int]) -> Literal:
        return next((row, label, True) for row, label in self._labels[pair].items() if label == self._label)


class _Paths:
    """The truth of every pair in a fractional solution; finds the paths that violate the rule."""

    def __init__(self, scope: Scope, knows: Callable[[Row], bool], truth: Callable[[Row, Label], float]) -> None:
        self._rows = dict(zip(scope.pairs, scope.clusters, strict=True))
        self._label = scope.label
        self._truth = {row: truth(row, scope.label) for row in scope.rows if knows(row)}
        self._claims: dict[int, dict[int, float]] = {}  # [a][b]: truth of (a, b)
        self._allowed: dict[int, dict[int, float]] = {}  # [a][c]: largest truth allowed for a path from a to c
        for (one, other), rows in self._rows.items():
            truths = [self._truth[row] for row in rows if row in self._truth]
            if not truths:
                continue
            self._claims.setdefault(one, {})[other] = max(truths)
            if len(truths) == len(rows):  # a row that the model does not know may have the label
                self._allowed.setdefault(one, {})[other] = 1.0 + sum(truths)
            if (other, one) not in self._rows:
                self._allowed.setdefault(other, {})[one] = 2.0 - max(truths)

    def violated(self) -> Iterator[tuple[float, Clause]]:
        """The violated clauses, each with its excess: the truth of its path above what (a, c) allows."""
        for one, seconds in self._claims.items():
            allowed = self._allowed.get(one, {})
            for other, first in seconds.items():
                for third, second in self._claims.get(other, {}).items():
                    if first + second > 1.0 + TOLERANCE and first + second > allowed.get(third, 2.0) + TOLERANCE:
                        yield first + second - allowed[third], self._clause(one, other, third)

    def _clause(self, one: int, other: int, third: int) -> Clause:
        """The clause of a path: its two claims, and the rows that deny (a, c) or claim (c, a)."""
        path = [self._claimant(one, other), self._claimant(other, third)]
        if (one, third) in self._rows:
            return (*((row, self._label, True) for row in path), *self._denial(one, third))
        return tuple((row, self._label, True) for row in (*path, self._claimant(third, one)))

    def _claimant(self, one: int, other: int) -> Row:
        return max((row for row in self._rows[one, other] if row in self._truth), key=self._truth.__getitem__)

    def _denial(self, one: int, third: int) -> Clause:
        return tuple((row, self._label, False) for row in self._rows[one, third])


def _with_bit(bits: int, number: int, *, on: bool) -> int:
    return bits | 1 << number if on else bits & ~(1 << number)


def _bits(bits: int) -> Iterator[int]:
    """The numbers in a set of bits, the smallest first."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
