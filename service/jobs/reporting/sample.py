"""Collects features of a bounded sample of a job's rows, in which the report looks for shortcuts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import orjson

from service.config import Task
from service.identifiers import Label
from service.jobs.task.related_rows import RelatedRows
from service.jobs.task.template import Template
from service.placeholders import template_fields
from service.records.labels import LabeledRow
from service.values import as_text

MOST_ROWS = 20_000
MOST_CELLS = 200_000  # a wide data set gets fewer rows
FEWEST_ROWS = 500
LONGEST_CELL = 40  # characters; a longer text is kept as its length and hash

Cell = float | str | None


def spread(rows: int, wanted: int) -> frozenset[int]:
    """Positions spread evenly over `rows` rows: a random one from each stretch, against bias by periodic patterns."""
    if rows <= wanted:
        return frozenset(range(rows))
    rng = Random(0)
    bounds = [number * rows // wanted for number in range(wanted + 1)]
    return frozenset(rng.randrange(*stretch) for stretch in pairwise(bounds))


@dataclass
class RowSample:
    """The features of the sampled rows that have a label, by column."""

    task: Task
    columns: Sequence[str]  # the user's columns without id, known and gold
    rows: int  # of the whole data set

    positions: list[float] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)  # characters of the text shown to the language model
    texts: set[int] = field(default_factory=set)  # hashes of the distinct texts
    cells: dict[str, list[Cell]] = field(default_factory=dict)
    cell_lengths: dict[str, list[float]] = field(default_factory=dict)  # of the template's columns, if it has several

    def __post_init__(self) -> None:
        self.shown = template_fields(self.task.template)
        self._template = Template(self.task.template)
        self._related = RelatedRows(self.task.relations)
        self._wanted = spread(self.rows, max(FEWEST_ROWS, min(MOST_ROWS, MOST_CELLS // max(1, len(self.columns)))))
        self.cells.update({column: [] for column in self.columns})
        self.cell_lengths.update({column: [] for column in self.shown if len(self.shown) > 1})

    def add(self, row: LabeledRow) -> None:
        """Add the next row if it is in the sample and has a label."""
        if row.state.label is None or row.state.position not in self._wanted:
            return
        fields: Mapping[str, Any] = orjson.loads(row.data)
        text = self._template.render(fields)
        self._related.add(fields, row.id)
        self.positions.append(float(row.state.position))
        self.labels.append(row.state.label)
        self.lengths.append(float(len(text)))
        self.texts.add(hash(text))
        for column, cells in self.cells.items():
            cells.append(_cell(fields.get(column)))
        for column, lengths in self.cell_lengths.items():
            lengths.append(float(len(as_text(fields[column]))))

    def halves(self) -> list[bool]:
        """Divide the rows into two random halves; related rows share a half, so that the halves are independent."""
        groups = self._related.groups()
        order = sorted(set(groups))
        Random(0).shuffle(order)
        second = set(order[::2])
        return [group in second for group in groups]


def as_numbers(cells: Sequence[Cell]) -> list[float] | None:
    """A column's cells as numbers, also if written as text; null sorts first. None if some cell is not a number."""
    numbers = []
    for cell in cells:
        number = -math.inf if cell is None else _number(cell)
        if number is None:
            return None
        numbers.append(number)
    return numbers


def _number(cell: float | str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _cell(value: Any) -> Cell:
    if value is None or value == "":
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = as_text(value)
    return text if len(text) <= LONGEST_CELL else f"{len(text)}#{hash(text)}"
