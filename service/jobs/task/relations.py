"""Turns the relations of a task into constraints between rows, by the values of the user's columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from service.config import Task
from service.identifiers import Label, Row
from service.relations.columns import Fields
from service.relations.registry import Relation
from service.search.rules.consistency import Constraint
from service.values import as_text

_SHOWN_LINES = 10


def row_id(id_field: str | None, position: int, row: Fields) -> str:
    """The row's id as text; without an id field, its number counted from 0."""
    return str(position) if id_field is None else as_text(row[id_field])


def compile_constraints(
    relations: Sequence[Relation], labels: Sequence[str], rows: Mapping[Row, Fields], *, id_field: str | None = None
) -> Iterator[Constraint]:
    """The constraints that the relations put on these rows, except those that no labelling can break."""
    positions = {row_id(id_field, position, row): position for position, row in rows.items()}
    for relation in relations:
        label = Label(0 if relation.label is None else labels.index(relation.label))
        yield from relation.constraints(label, rows, positions)


def numbered_constraints(task: Task, rows: Mapping[Row, Fields]) -> Iterator[tuple[int, Constraint]]:
    """The constraints on these rows, each with the number of its relation in the task."""
    for number, relation in enumerate(task.relations):
        for constraint in compile_constraints([relation], task.labels, rows, id_field=task.id_field):
            yield number, constraint


def cells_of_relations(task: Task, rows: Iterable[tuple[int, Fields]]) -> dict[Row, Fields]:
    """The columns of these numbered rows that the relations read, and their ids."""
    columns = {column for relation in task.relations for column in relation.columns}
    columns |= set() if task.id_field is None else {task.id_field}
    return {Row(number): {column: fields[column] for column in columns} for number, fields in rows}


def shown_lines(rows: Sequence[Row], lines: Sequence[int]) -> str:
    """The line numbers of the first of these rows, for a message; `lines` has each row's line."""
    more = f" and {len(rows) - _SHOWN_LINES} more" if len(rows) > _SHOWN_LINES else ""
    return ", ".join(str(lines[row]) for row in rows[:_SHOWN_LINES]) + more
