"""The relation `pairs`: a rule over pairs of rows that the user names by their ids."""

import itertools
from array import array
from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from service.identifiers import Label, Row
from service.relations.columns import Fields, references
from service.relations.groups import GroupRule
from service.relations.relation import BaseRelation, Tie, UnknownId
from service.search.rules.consistency import Constraint
from service.search.rules.registry import RULE_NAMED


class PairsRelation(BaseRelation):
    """A rule over pairs of rows, named by their ids here or in a column of the data set."""

    kind: Literal["pairs"]
    rule: GroupRule
    pairs: list[tuple[str, str]] | None = Field(None, min_length=1, max_length=10_000, description="pairs of row ids")
    column: str | None = Field(None, description="column with the id of another row, a list of ids, or null")
    label: str | None = Field(None, description="label that the rule counts; default: the task's first")

    @property
    def columns(self) -> tuple[str, ...]:
        """See BaseRelation."""
        return () if self.column is None else (self.column,)

    @property
    def reads_ids(self) -> bool:
        """True: its column holds only ids."""
        return True

    @property
    def may_contradict_itself(self) -> bool:
        """True unless one label for all rows keeps the rule: pairs may form a cycle."""
        return not RULE_NAMED[self.rule].kind.kept_by_one_label

    @field_validator("pairs")
    @classmethod
    def _pairs_have_two_rows_and_appear_once(cls, pairs: list[tuple[str, str]] | None) -> list[tuple[str, str]] | None:
        seen = set()
        for pair in pairs or ():
            if pair[0] == pair[1]:
                raise ValueError(f"the pair {list(pair)} relates a row to itself")
            if frozenset(pair) in seen:
                raise ValueError(f"the pair {list(pair)} is there twice")
            seen.add(frozenset(pair))
        return pairs

    @model_validator(mode="after")
    def _either_pairs_or_a_column(self) -> Self:
        if (self.pairs is None) == (self.column is None):
            raise ValueError("give either `pairs` or a `column`")
        return self

    def constraints(
        self, label: Label, rows: Mapping[Row, Fields], positions: Mapping[str, Row]
    ) -> Iterator[Constraint]:
        """A constraint for each pair of different rows; skips ids of rows in other shards."""
        named = [(positions.get(one), positions.get(other)) for one, other in self.pairs or ()]
        if self.column is not None:
            named += [
                (row, positions.get(id_)) for row, cells in rows.items() for id_ in references(self.column, cells)
            ]
        here = ((one, other) for one, other in named if one is not None and other is not None)
        for one, other in dict.fromkeys((min(pair), max(pair)) for pair in here):
            if one != other:
                yield Constraint(RULE_NAMED[self.rule], ((one,), (other,)), label)

    def tie(self) -> "IdTie":
        """An empty IdTie for this relation."""
        return IdTie(self)


class IdTie(Tie):
    """Ties the rows of each pair; a pair may name an id before its row has been added."""

    def __init__(self, relation: PairsRelation) -> None:
        super().__init__(relation.kind)
        self._column, self._pairs = relation.column, relation.pairs or ()
        self._position: dict[str, int] = {}
        self._namers, self._named = array("I"), list[str]()  # a row, and the id in its column

    def add(self, position: int, row: Fields, row_id: str) -> None:
        """See Tie."""
        ids = [] if self._column is None else references(self._column, row)
        self._position[row_id] = position
        for id_ in ids:
            if id_ == row_id:
                self._themselves += 1
            else:
                self._namers.append(position)
                self._named.append(id_)

    def links(self) -> Iterator[tuple[int, int]]:
        """The pairs whose rows are both in the data set."""
        named = itertools.chain(
            zip(self._namers, map(self._position.get, self._named), strict=True),
            ((self._position.get(one), self._position.get(other)) for one, other in self._pairs),
        )
        return ((one, other) for one, other in named if one is not None and other is not None)

    def constraints(self) -> int:
        """The number of different pairs."""
        return len({(min(pair), max(pair)) for pair in self.links()})

    def unknown_ids(self, relation: int) -> Iterator[UnknownId]:
        """The ids in pairs that no row has."""
        for pair in self._pairs:
            yield from (UnknownId(relation, id_, pair) for id_ in pair if id_ not in self._position)
        ids = {row: id_ for id_, row in self._position.items()} if self._namers else {}
        for row, id_ in zip(self._namers, self._named, strict=True):
            if id_ not in self._position:
                yield UnknownId(relation, id_, (ids[row], id_), row, self._column)
