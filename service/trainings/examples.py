"""Turns labelled rows into examples for trainings of kind `label` (docs/training.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.config import Task
from service.identifiers import Label
from service.jobs.task.gold import GoldReader
from service.jobs.task.known import KnownLabels
from service.jobs.task.template import Template
from service.records.labels import LabeledRow
from service.relations.columns import Fields
from service.trainings.request import RowSelection
from service.values import as_text, is_blank

Example = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChosenLabel:
    """The label to learn for a row, and its confidence: 1 for a label that the user gave."""

    label: Label
    confidence: float


class Selection:
    """Chooses the label to learn for each row; a row that the request leaves out has none."""

    def __init__(self, task: Task, rows: RowSelection) -> None:
        self._known, self._rows = KnownLabels(task), rows

    def of(self, row: LabeledRow, fields: Fields) -> ChosenLabel | None:
        """The user's label if there is one, else the job's label if its confidence is high enough."""
        if (known := self._known.of(fields)) is not None:
            return ChosenLabel(known, 1.0)
        state, wanted = row.state, self._rows
        if state.label is None or state.status not in wanted.statuses:
            return None
        confidence = state.confidence or 0.0
        return ChosenLabel(state.label, confidence) if confidence >= wanted.min_confidence else None


class RowGold:
    """Reads the gold of labelled rows."""

    def __init__(self, task: Task) -> None:
        self._gold = GoldReader(task)

    def of_row(self, row: LabeledRow) -> Label | None:
        """The label that the row's gold value means, if any."""
        value = None if row.gold is None else orjson.loads(row.gold)
        return None if is_blank(value) else self._gold.of(as_text(value))


class LabelExamples:
    """Turns rows of one job into examples. The prompt is the text that the service scored for the job.

    Gold has a separate field, which only the training's report reads.
    """

    def __init__(self, task: Task, rows: RowSelection) -> None:
        self._task = task
        self._template, self._gold = Template(task.template), RowGold(task)
        self._selection = Selection(task, rows)

    def of(self, row: LabeledRow, group: str) -> Example | None:
        """The row as an example; None if the request leaves it out."""
        fields: Fields = orjson.loads(row.data)
        chosen = self._selection.of(row, fields)
        if chosen is None:
            return None
        gold = self._gold.of_row(row)
        return {
            "prompt": self._template.render(fields),
            "label": self._task.labels[chosen.label],
            "weight": chosen.confidence,
            "group": group,
            "id": row.id,
        } | ({} if gold is None else {"gold": self._task.labels[gold]})
