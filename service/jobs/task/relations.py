"""Turns the relations of a task into constraints between rows, from the users' columns alone."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from service.config import AntisymmetricRelation, GroupRelation, PairsRelation, Relation, TransitiveRelation
from service.identifiers import Label, Row
from service.jobs.task.template import as_text, is_blank
from service.search.rules.consistency import Constraint, Rule
from service.search.rules.registry import RULE_NAMED

Key = tuple[Hashable, ...]
Comparison = AntisymmetricRelation | TransitiveRelation
Fields = Mapping[str, Any]


class UnusableValue(ValueError):
    """A column that a relation reads holds a list or an object where it must not."""

    def __init__(self, field: str, needed: str = "a relation needs text, a number or true/false") -> None:
        super().__init__(f"field {field!r} holds a list or an object; {needed}")
        self.field = field


def takes_part(relation: Relation, row: Fields) -> bool:
    """Whether the relation speaks of the row.

    Not where a column it reads is null or blank (as in SQL null equals nothing), nor where a
    thing would be compared with itself.
    """
    return not leaves_out(relation, row) and not compares_with_itself(relation, row)


def leaves_out(relation: Relation, row: Fields) -> bool:
    """Whether a column that the relation reads is null or blank in the row."""
    return any(is_blank(row[column]) for column in relation.columns)


def compares_with_itself(relation: Relation, row: Fields) -> bool:
    """Whether the row says something of one thing twice. Raises UnusableValue."""
    if not isinstance(relation, Comparison):
        return False
    return bool(_value(relation.first, row) == _value(relation.second, row) and not is_blank(row[relation.first]))


def group_key(relation: GroupRelation | Comparison, row: Fields) -> Key:
    """What the rows of one group under this relation have in common. Raises UnusableValue.

    A transitive relation ties rows by the things they compare; here it gives the rows among
    which it looks for them.
    """
    match relation:
        case AntisymmetricRelation():
            return (*_values(relation.group, row), *sorted(compared(relation, row), key=repr))
        case _:
            return _values(relation.group, row)


def cluster_key(relation: GroupRelation | Comparison, position: int, row: Fields) -> Key:
    """What the rows that count as one have in common. Raises UnusableValue."""
    match relation:
        case GroupRelation(distinct=None):
            return (position,)
        case GroupRelation(distinct=str(distinct)):
            return (_value(distinct, row),)
        case AntisymmetricRelation() | TransitiveRelation():
            return compared(relation, row)
    raise AssertionError(relation)


def compared(relation: Comparison, row: Fields) -> tuple[Hashable, Hashable]:
    """The two things, in order. Raises UnusableValue."""
    return _value(relation.first, row), _value(relation.second, row)


def references(column: str, row: Fields) -> list[str]:
    """The ids of other rows that the column holds; none where it is null or blank. Raises UnusableValue."""
    value = row[column]
    ids = value if isinstance(value, list) else [value]
    if isinstance(value, dict) or any(isinstance(item, list | dict) for item in ids):
        raise UnusableValue(column, "it must hold the id of a row, a list of ids, or null")
    return [as_text(item) for item in ids if not is_blank(item)]


def row_id(id_field: str | None, position: int, row: Fields) -> str:
    """The row's id as text: its number, counted from 0, where the task names no id field."""
    return str(position) if id_field is None else as_text(row[id_field])


def compile_constraints(
    relations: Sequence[Relation], labels: Sequence[str], rows: Mapping[Row, Fields], *, id_field: str | None = None
) -> Iterator[Constraint]:
    """The constraints that the relations put on these rows; groups that cannot be broken are left out."""
    positions = {row_id(id_field, position, row): position for position, row in rows.items()}
    for relation in relations:
        label = Label(0 if relation.label is None else labels.index(relation.label))
        if isinstance(relation, PairsRelation):
            yield from _pairs(relation, label, rows, positions)
            continue
        groups: dict[Key, dict[Row, Fields]] = {}
        for position, row in rows.items():
            if takes_part(relation, row):
                groups.setdefault(group_key(relation, row), {})[position] = row
        for members in groups.values():
            clusters = _clusters(relation, members)
            if isinstance(relation, TransitiveRelation):
                yield _transitive(clusters, label)
            elif len(clusters) > 1 or relation.kind == "exactly_one":
                rule = Rule.EXACTLY_ONE if isinstance(relation, AntisymmetricRelation) else RULE_NAMED[relation.kind]
                yield Constraint(rule, tuple(clusters.values()), label)


def _clusters(relation: GroupRelation | Comparison, rows: Mapping[Row, Fields]) -> dict[Key, tuple[Row, ...]]:
    """The rows of a group, those together that count as one."""
    clusters: dict[Key, list[Row]] = {}
    for position, row in rows.items():
        clusters.setdefault(cluster_key(relation, position, row), []).append(position)
    return {key: tuple(cluster) for key, cluster in clusters.items()}


def _transitive(clusters: Mapping[Key, tuple[Row, ...]], label: Label) -> Constraint:
    numbers: dict[Hashable, int] = {}
    pairs = tuple((_number(numbers, first), _number(numbers, second)) for first, second in clusters)
    return Constraint(Rule.TRANSITIVE, tuple(clusters.values()), label, pairs)


def _number(numbers: dict[Hashable, int], thing: Hashable) -> int:
    return numbers.setdefault(thing, len(numbers))


def _pairs(
    relation: PairsRelation, label: Label, rows: Mapping[Row, Fields], positions: Mapping[str, Row]
) -> Iterator[Constraint]:
    """A constraint for each pair of different rows; ids of rows that are not here belong to other shards."""
    named = [(positions.get(one), positions.get(other)) for one, other in relation.pairs or ()]
    if relation.column is not None:
        named += [
            (row, positions.get(id_)) for row, fields in rows.items() for id_ in references(relation.column, fields)
        ]
    pairs = {(min(one, other), max(one, other)): None for one, other in named if one is not None and other is not None}
    for one, other in pairs:
        if one != other:
            yield Constraint(RULE_NAMED[relation.rule], ((one,), (other,)), label)


def _values(columns: str | Sequence[str] | None, row: Fields) -> Key:
    names = () if columns is None else (columns,) if isinstance(columns, str) else columns
    return tuple(_value(name, row) for name in names)


def _value(column: str, row: Fields) -> Hashable:
    value = row[column]
    if isinstance(value, list | dict):
        raise UnusableValue(column)
    return _text_of_number(value) if isinstance(value, int | float) else value


def _text_of_number(value: float) -> tuple[str, str]:
    """Equal for equal numbers, of which true and false are none.

    Text, since Python's hash of a number is known to everybody: a data set could be made of a million numbers
    that all fall together in a dictionary and take hours. The hash of text is another one in each process.
    """
    if isinstance(value, bool):
        return "bool", str(value)
    is_whole = isinstance(value, int) or value.is_integer()
    return "number", hex(int(value)) if is_whole else value.hex()
