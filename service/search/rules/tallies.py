"""What each rule counts of the labels put down so far, so that one more label is judged without a recount."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from service.identifiers import Label, Row

Conflict = tuple[Row, ...]  # rows that together break a rule, in order
Literal = tuple[Row, Label, bool]  # the row has the label, or (False) has another one
Clause = tuple[Literal, ...]  # not all of these at once
Broken = tuple[Conflict, Clause]


class Tally(Protocol):
    """A rule's view of a labelling that grows and shrinks by single rows of the rule."""

    def put(self, row: Row, label: Label) -> None:
        """Take in a row's label."""

    def take(self, row: Row, label: Label) -> None:
        """Undo `put`."""

    def breaks(self, row: Row, label: Label) -> bool:
        """Whether the row, which has this label, is part of a conflict."""

    def broken(self) -> Iterator[Broken]:
        """The conflicts, each with a clause that the labels violate; a conflict may come with several."""


class Apart:
    """No two clusters have the label (without one: no two clusters have any label in common).

    With `one_needed` some row must have it; that is known once all rows are labelled.
    """

    def __init__(self, clusters: Sequence[Sequence[Row]], label: Label | None, *, one_needed: bool = False) -> None:
        self._cluster = {row: number for number, cluster in enumerate(clusters) for row in cluster}
        self._label, self._one_needed = label, one_needed
        self._unlabelled = len(self._cluster)
        self._with: dict[Label, dict[int, set[Row]]] = defaultdict(dict)  # no empty sets in it

    def put(self, row: Row, label: Label) -> None:
        """Take in a row's label."""
        self._unlabelled -= 1
        if self._label in (None, label):
            self._with[label].setdefault(self._cluster[row], set()).add(row)

    def take(self, row: Row, label: Label) -> None:
        """Undo `put`."""
        self._unlabelled += 1
        if self._label in (None, label):
            rows = self._with[label][self._cluster[row]]
            rows.remove(row)
            if not rows:
                del self._with[label][self._cluster[row]]

    def breaks(self, row: Row, label: Label) -> bool:  # noqa: ARG002  # every row of the rule shares in what is broken
        """Whether the row, which has this label, is part of a conflict."""
        return self._lacks_one() or (self._label in (None, label) and len(self._with[label]) > 1)

    def broken(self) -> Iterator[Broken]:
        """The conflicting pairs; all rows where none has the label."""
        for label, clusters in self._with.items():
            for one, other in itertools.combinations(clusters.values(), 2):
                for pair in itertools.product(one, other):
                    yield tuple(sorted(pair)), tuple((row, label, True) for row in pair)
        if self._lacks_one() and self._label is not None:
            rows = tuple(sorted(self._cluster))
            yield rows, tuple((row, self._label, False) for row in rows)

    def _lacks_one(self) -> bool:
        return self._one_needed and not self._unlabelled and self._label is not None and not self._with[self._label]


class Equal:
    """All rows have the same label."""

    def __init__(self) -> None:
        self._rows: dict[Label, set[Row]] = {}  # no empty sets in it

    def put(self, row: Row, label: Label) -> None:
        """Take in a row's label."""
        self._rows.setdefault(label, set()).add(row)

    def take(self, row: Row, label: Label) -> None:
        """Undo `put`."""
        self._rows[label].remove(row)
        if not self._rows[label]:
            del self._rows[label]

    def breaks(self, row: Row, label: Label) -> bool:  # noqa: ARG002  # any second label makes every row disagree
        """Whether the row, which has this label, is part of a conflict."""
        return len(self._rows) > 1

    def broken(self) -> Iterator[Broken]:
        """The pairs that disagree."""
        for (label, rows), (_, others) in itertools.combinations(self._rows.items(), 2):
            for row, other in itertools.product(rows, others):
                yield tuple(sorted((row, other))), ((row, label, True), (other, label, False))


class Ordered:
    """Where (a, b) and (b, c) have the label, (a, c) has it too; a strict order, so nothing goes in a circle.

    A pair *holds* as soon as one of its rows has the label, and is *denied* once all its rows
    are labelled otherwise. Of three things with a path a, b, c that holds it is a conflict if
    (a, c) is denied, or if (a, c) has no rows and (c, a) holds. Sets of things are the
    bits of whole numbers: the intersections are what all the work consists of.
    """

    def __init__(self, pairs: Mapping[tuple[int, int], Sequence[Row]], label: Label) -> None:
        self._rows, self._label = pairs, label
        self._pair = {row: pair for pair, rows in pairs.items() for row in rows}
        self._labels: dict[tuple[int, int], dict[Row, Label]] = {pair: {} for pair in pairs}
        size = 1 + max(itertools.chain.from_iterable(pairs), default=-1)
        self._holds, self._held_by = [0] * size, [0] * size  # [a]: things b with (a, b), with (b, a), that holds
        self._denied, self._denied_by = [0] * size, [0] * size
        self._rowless, self._rowless_by = [-1] * size, [-1] * size
        for one, other in pairs:
            self._rowless[one] &= ~(1 << other)
            self._rowless_by[other] &= ~(1 << one)

    def put(self, row: Row, label: Label) -> None:
        """Take in a row's label."""
        pair = self._pair[row]
        self._labels[pair][row] = label
        self._update(pair)

    def take(self, row: Row, label: Label) -> None:  # noqa: ARG002  # undoes `put`, which needs it
        """Undo `put`."""
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
        """Whether the row's pair, as it is now, lies between two of three things in conflict."""
        one, other = self._pair[row]
        return self._broken_beside(one, other) or self._broken_beside(other, one)

    def _broken_beside(self, one: int, other: int) -> bool:
        """Whether a third thing is in conflict with both, by a path on which `one` comes before `other`."""
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
        """The triples of things in conflict, as the labelled rows between any two of them; a clause for each path."""
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


def _with_bit(bits: int, number: int, *, on: bool) -> int:
    return bits | 1 << number if on else bits & ~(1 << number)


def _bits(bits: int) -> Iterator[int]:
    """The numbers in a set, from the smallest."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
