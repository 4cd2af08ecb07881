"""Turns the relations of a task into groups of rows and into constraints, from the users' columns alone."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from service.config import AntisymmetricRelation, GroupRelation, Relation
from service.identifiers import Label, Row
from service.search.consistency import Constraint, Rule

Key = tuple[Hashable, ...]


class UnusableValue(ValueError):
    """A column that a relation reads holds a list or an object."""

    def __init__(self, field: str) -> None:
        super().__init__(f"field {field!r} holds a list or an object; a relation needs text, a number or true/false")
        self.field = field


class RelatedRows:
    """Finds which rows belong together while rows stream by; keeps a number per row and the keys seen."""

    def __init__(self, relations: Sequence[Relation]) -> None:
        self._relations = tuple(relations)
        self._parents: list[int] = []
        self._first_with: dict[Key, int] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in the next row. Raises UnusableValue."""
        position = len(self._parents)
        self._parents.append(position)
        for number, relation in enumerate(self._relations):
            key = group_key(relation, row)
            if key is not None:
                self._join(position, self._first_with.setdefault((number, *key), position))

    def groups(self) -> list[int]:
        """The group of every row added so far; groups are numbered from 0 by their first rows."""
        numbers: dict[int, int] = {}
        return [numbers.setdefault(self._root(position), len(numbers)) for position in range(len(self._parents))]

    def _root(self, position: int) -> int:
        while self._parents[position] != position:
            self._parents[position] = self._parents[self._parents[position]]
            position = self._parents[position]
        return position

    def _join(self, one: int, other: int) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._parents[second] = first


def group_key(relation: Relation, row: Mapping[str, Any]) -> Key | None:
    """What the rows of one group under this relation have in common.

    None where a column the relation reads is null: as in SQL null equals nothing, and the
    row takes no part in the relation.
    """
    if any(row[column] is None for column in relation.columns):
        return None
    if isinstance(relation, AntisymmetricRelation):
        pair = sorted((_value(relation.first, row), _value(relation.second, row)), key=repr)
        return (*_values(relation.group, row), *pair)
    return _values(relation.group, row)


def compile_constraints(
    relations: Sequence[Relation], labels: Sequence[str], rows: Mapping[Row, Mapping[str, Any]]
) -> Iterator[Constraint]:
    """The constraints that the relations put on these rows; groups that cannot be broken are left out."""
    for relation in relations:
        groups: dict[Key, list[Row]] = {}
        for position, row in rows.items():
            key = group_key(relation, row)
            if key is not None:
                groups.setdefault(key, []).append(position)
        label = Label(0 if relation.label is None else labels.index(relation.label))
        for members in groups.values():
            constraint = _constraint(relation, label, {member: rows[member] for member in members})
            if constraint is not None:
                yield constraint


def _constraint(relation: Relation, label: Label, rows: Mapping[Row, Mapping[str, Any]]) -> Constraint | None:
    clusters = _clusters(relation, rows)
    rule = Rule.EXACTLY_ONE if isinstance(relation, AntisymmetricRelation) else Rule(relation.kind)
    single = rule is not Rule.EXACTLY_ONE or isinstance(relation, AntisymmetricRelation)
    return None if len(clusters) < 2 and single else Constraint(rule, clusters, label)


def _clusters(relation: Relation, rows: Mapping[Row, Mapping[str, Any]]) -> tuple[tuple[Row, ...], ...]:
    """The rows of a group, those together that count as one."""
    clusters: dict[Key, list[Row]] = {}
    for position, row in rows.items():
        clusters.setdefault(_cluster_key(relation, position, row), []).append(position)
    return tuple(tuple(cluster) for cluster in clusters.values())


def _cluster_key(relation: Relation, position: Row, row: Mapping[str, Any]) -> Key:
    match relation:
        case AntisymmetricRelation(first=first, second=second):
            return (_value(first, row), _value(second, row))
        case GroupRelation(distinct=None):
            return (position,)
        case GroupRelation(distinct=str(distinct)):
            return (_value(distinct, row),)
    raise AssertionError(relation)


def _values(columns: str | Sequence[str] | None, row: Mapping[str, Any]) -> Key:
    names = () if columns is None else (columns,) if isinstance(columns, str) else columns
    return tuple(_value(name, row) for name in names)


def _value(column: str, row: Mapping[str, Any]) -> Hashable:
    value = row[column]
    if isinstance(value, list | dict):
        raise UnusableValue(column)
    return (type(value).__name__, value) if isinstance(value, bool) else value
