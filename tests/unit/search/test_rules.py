"""Each rule's declared properties hold for every labelling, by the oracle of `rules.py`."""

import pytest

from service.identifiers import Label, Row
from service.search.rules.consistency import Constraint, Rule
from service.search.rules.registry import RULE_NAMED
from tests.unit.search.rules import conflicts, labellings, rows

OVER_CLUSTERS = [rule for rule in Rule if not rule.kind.compares_things]
CLUSTERS = [(rows(0),), (rows(0, 1),), (rows(0), rows(1)), (rows(0, 1), rows(2)), (rows(0), rows(1), rows(2))]
over_clusters = pytest.mark.parametrize("clusters", CLUSTERS, ids=str)
each_rule = pytest.mark.parametrize("rule", OVER_CLUSTERS, ids=lambda rule: rule.name)


def kept(rule: Rule, clusters: tuple[tuple[Row, ...], ...], classes: int) -> list[dict[Row, Label]]:
    """The labellings without conflict."""
    constraint = Constraint(rule, clusters, Label(0))
    return [labels for labels in labellings(len(constraint.rows), classes) if not conflicts([constraint], labels)]


def test_a_rule_is_found_by_the_name_that_users_write() -> None:
    assert {name: rule.name.lower() for name, rule in RULE_NAMED.items()} == {name: name for name in RULE_NAMED}
    assert set(RULE_NAMED.values()) == set(Rule)


@each_rule
def test_one_label_for_all_rows_keeps_a_rule_exactly_if_the_rule_says_so(rule: Rule) -> None:
    always = all(any(len(set(labels.values())) == 1 for labels in kept(rule, given, 2)) for given in CLUSTERS)
    assert rule.kind.kept_by_one_label == always


@each_rule
@over_clusters
@pytest.mark.parametrize("classes", [2, 3])
def test_a_rule_can_be_kept_with_so_many_labels_exactly_if_it_says_so(
    rule: Rule, clusters: tuple[tuple[Row, ...], ...], classes: int
) -> None:
    assert Constraint(rule, clusters, Label(0)).lacks_labels(classes) == (not kept(rule, clusters, classes))


@each_rule
@pytest.mark.parametrize("clusters", [given for given in CLUSTERS if len(given) > 1], ids=str)
@pytest.mark.parametrize("classes", [2, 3])
def test_one_row_determines_the_others_where_the_rule_says_so_and_between_single_rows_only_there(
    rule: Rule, clusters: tuple[tuple[Row, ...], ...], classes: int
) -> None:
    free = kept(rule, clusters, classes)
    if not free:
        return
    told = all(len({labels[row] for labels in free}) == len(free) for row in free[0])
    said = rule.kind.determines(Constraint(rule, clusters, Label(0)), classes)
    assert said == told or (told and max(map(len, clusters)) > 1)


@each_rule
@over_clusters
def test_as_many_clusters_have_the_label_as_the_rule_says(rule: Rule, clusters: tuple[tuple[Row, ...], ...]) -> None:
    if rule.kind.clusters_with_label is None:
        return
    fewest, most = rule.kind.clusters_with_label
    having = [sum(any(labels[row] == 0 for row in c) for c in clusters) for labels in kept(rule, clusters, 2)]
    assert (min(having), max(having)) == (fewest, len(clusters) if most is None else most)


@each_rule
def test_a_cluster_alone_breaks_a_rule_exactly_if_the_rule_says_so(rule: Rule) -> None:
    assert rule.kind.binds_one_cluster == (len(kept(rule, (rows(0),), 2)) < 2)


@each_rule
@pytest.mark.parametrize("clusters", [given for given in CLUSTERS if len(given) > 1], ids=str)
def test_without_a_cluster_a_rule_allows_what_some_labels_of_the_cluster_allow(
    rule: Rule, clusters: tuple[tuple[Row, ...], ...]
) -> None:
    lost, first, classes = clusters[-1], clusters[:-1], 4
    rest = [row for cluster in first for row in cluster]
    left = Constraint(rule, clusters, Label(0)).without(lost)
    possible = {tuple(labels[row] for row in rest) for labels in kept(rule, clusters, classes)}
    every = labellings(len(rest), classes)
    allowed = [labels for labels in every if left is None or not conflicts([left], labels)]
    assert {tuple(labels[row] for row in rest) for labels in allowed} == possible
