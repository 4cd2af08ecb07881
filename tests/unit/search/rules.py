"""Random rules over few rows, and their meaning, written as plainly as possible."""

import itertools
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.rules.consistency import Constraint, Rule


def rows(*numbers: int) -> tuple[Row, ...]:
    return tuple(map(Row, numbers))


@st.composite
def constraint_sets(draw: st.DrawFn, most: int = 5) -> tuple[int, list[Constraint]]:
    """A few rows with up to three random rules; often they contradict each other."""
    count = draw(st.integers(1, most))
    return count, [draw(constraints(count)) for _ in range(draw(st.integers(0, 3)))]


@st.composite
def constraints(draw: st.DrawFn, count: int) -> Constraint:
    rule = draw(st.sampled_from(Rule))
    label = Label(draw(st.integers(0, 1)))
    members = draw(st.permutations(range(count)))[: draw(st.integers(1, count))]
    if rule is not Rule.TRANSITIVE:
        cut = draw(st.integers(0, len(members)))
        return Constraint(rule, tuple(rows(*part) for part in (members[:cut], members[cut:]) if part), label)
    pairs = draw(st.permutations(list(itertools.permutations(range(3), 2))))
    of_pair: dict[tuple[int, int], list[int]] = {}
    for member in members:  # sometimes two rows are about one pair
        of_pair.setdefault(pairs[draw(st.integers(0, 5))], []).append(member)
    return Constraint(rule, tuple(rows(*members) for members in of_pair.values()), label, tuple(of_pair))


def labellings(count: int, classes: int) -> list[dict[Row, Label]]:
    every = itertools.product(map(Label, range(classes)), repeat=count)
    return [dict(zip(rows(*range(count)), choice, strict=True)) for choice in every]


def conflicts(given: Sequence[Constraint], labels: Mapping[Row, Label]) -> set[frozenset[Row]]:
    """The conflicts of complete labellings, by definition."""
    return set().union(*(_conflicts(constraint, labels) for constraint in given)) if given else set()


def _conflicts(constraint: Constraint, labels: Mapping[Row, Label]) -> set[frozenset[Row]]:
    if constraint.rule is Rule.TRANSITIVE:
        return _untransitive(constraint, labels)
    clusters = {row: number for number, cluster in enumerate(constraint.clusters) for row in cluster}
    pairs = [(a, b) for a, b in itertools.combinations(constraint.rows, 2)]
    apart = [(a, b) for a, b in pairs if clusters[a] != clusters[b]]
    match constraint.rule:
        case Rule.SAME_LABEL:
            return {frozenset(pair) for pair in pairs if labels[pair[0]] != labels[pair[1]]}
        case Rule.DIFFERENT_LABEL:
            return {frozenset(pair) for pair in apart if labels[pair[0]] == labels[pair[1]]}
    having = {row for row in constraint.rows if labels[row] == constraint.label}
    if constraint.rule is Rule.EXACTLY_ONE and not having:
        return {frozenset(constraint.rows)}
    return {frozenset(pair) for pair in apart if having.issuperset(pair)}


def _untransitive(constraint: Constraint, labels: Mapping[Row, Label]) -> set[frozenset[Row]]:
    holds = {
        pair: any(labels[row] == constraint.label for row in cluster)
        for pair, cluster in zip(constraint.pairs, constraint.clusters, strict=True)
    }
    between = dict(zip(constraint.pairs, constraint.clusters, strict=True))
    found = set()
    for a, b, c in itertools.permutations({thing for pair in holds for thing in pair}, 3):
        path = holds.get((a, b)) and holds.get((b, c))
        closed = holds[a, c] if (a, c) in holds else not holds.get((c, a))
        if path and not closed:
            found.add(frozenset(row for pair in itertools.permutations((a, b, c), 2) for row in between.get(pair, ())))
    return found
