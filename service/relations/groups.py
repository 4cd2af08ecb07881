"""The relations over rows that agree in some columns, such as `at_most_one`: one kind for each rule over rows."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from service.identifiers import Label
from service.relations.columns import Columns, Fields, Key, names_of, value_of, values_of
from service.relations.keyed import Clusters, GroupTie, KeyedRelation
from service.relations.relation import RelationCount
from service.search.rules.consistency import Constraint
from service.search.rules.registry import RULE_NAMED, Rule

if TYPE_CHECKING:
    GroupRule = str  # type checkers cannot evaluate names that exist only at run time
else:
    GroupRule = Literal[tuple(name for name, rule in RULE_NAMED.items() if not rule.kind.compares_things)]


class GroupRelation(KeyedRelation):
    """A rule over the rows that agree in the columns of `group`."""

    kind: GroupRule
    group: Columns
    distinct: str | None = Field(None, description="column of clusters: rows that agree in it count as one")
    label: str | None = Field(None, description="label that the rule counts; default: the task's first")

    @property
    def rule(self) -> Rule:
        """The rule that the relation applies."""
        return RULE_NAMED[self.kind]

    @property
    def columns(self) -> tuple[str, ...]:
        """See BaseRelation."""
        group = names_of(self.group)
        return group if self.distinct is None else (*group, self.distinct)

    @property
    def may_contradict_itself(self) -> bool:
        """True if each cluster needs a label of its own: a group may have more clusters than there are labels."""
        return self.rule.kind.most_clusters(2) is not None

    def room(self, found: RelationCount, rows: int) -> tuple[int, int] | None:
        """See BaseRelation."""
        bounds = self.rule.kind.clusters_with_label
        if bounds is None:
            return None
        fewest, most = bounds
        if self.distinct is not None or most is None:
            return fewest * found.constraints, rows
        return fewest * found.constraints, rows - found.rows + most * found.constraints

    def group_key(self, row: Fields) -> Key:
        """The values of the group's columns. Raises UnusableValue."""
        return values_of(self.group, row)

    def cluster_key(self, position: int, row: Fields) -> Key:
        """The value of `distinct`; without `distinct` a key that no other row has. Raises UnusableValue."""
        return (position,) if self.distinct is None else (value_of(self.distinct, row),)

    def constraint(self, clusters: Clusters, label: Label) -> Constraint | None:
        """The rule over the group's clusters; None if they cannot break it."""
        if len(clusters) < 2 and not self.rule.kind.binds_one_cluster:
            return None
        return Constraint(self.rule, tuple(clusters.values()), label)

    def tie(self) -> GroupTie:
        """An empty GroupTie for this relation."""
        return GroupTie(self, binds_one_cluster=self.rule.kind.binds_one_cluster)
