"""Turns the relations of a task into constraints between rows, from the users' columns alone."""

from collections.abc import Iterator, Mapping, Sequence

from service.identifiers import Label, Row
from service.relations.columns import Fields
from service.relations.registry import Relation
from service.search.rules.consistency import Constraint
from service.values import as_text


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
        yield from relation.constraints(label, rows, positions)
