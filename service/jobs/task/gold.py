"""Reads gold values: finds the label of each value, and counts the values that are not labels.

Gold never reaches the search. The report compares labels with it, and a warning lists values that are not labels.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.config import Task
from service.identifiers import Label
from service.jobs.task.label_names import LabelNames
from service.values import as_text, by_number, counted, is_blank, says_missing

SHOWN_VALUES = 5  # the most frequent values that are not labels
_COUNTED_VALUES = 1_000  # distinct values to count, which bounds the memory for many rows
_SHOWN_CHARACTERS = 50


class GoldReader:
    """Finds the label that a gold value stands for: by the task's `gold_values` first, then by the labels' names."""

    def __init__(self, task: Task) -> None:
        numbers = {name: Label(number) for number, name in enumerate(task.labels)}
        self._mapped = LabelNames((value, numbers[name]) for value, name in task.gold_values.items())
        self._labels = LabelNames(numbers.items())

    def of(self, text: str) -> Label | None:
        """The label of a gold value; None if the value is not a label."""
        mapped = self._mapped.find(text)
        return self._labels.find(text) if mapped is None else mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldValue:
    """A gold value that is none of the labels, shortened if it is long."""

    value: str
    rows: int


@dataclass(slots=True)
class Unmatched:
    """Counts gold values that are not labels."""

    rows: int = 0
    _values: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Count one more such value."""
        self.rows += 1
        value = text.strip()[:_SHOWN_CHARACTERS]
        if value in self._values or len(self._values) < _COUNTED_VALUES:
            self._values[value] += 1

    def commonest(self) -> list[GoldValue]:
        """The most frequent values, at most SHOWN_VALUES."""
        return [GoldValue(value=value, rows=rows) for value, rows in self._values.most_common(SHOWN_VALUES)]


class GoldCheck:
    """Counts gold values, and collects those that are not labels for a warning."""

    def __init__(self, task: Task) -> None:
        self._field, self._reader = task.gold_field, GoldReader(task)
        self.rows, self.unmatched = 0, Unmatched()

    def add(self, row: Mapping[str, Any]) -> None:
        """Count the row's gold value, if it has one."""
        value = None if self._field is None else row.get(self._field)
        if is_blank(value):
            return
        self.rows += 1
        if self._reader.of(as_text(value)) is None:
            self.unmatched.add(as_text(value))


def unmatched_warning(task: Task, unmatched: Unmatched, gold_rows: int) -> Iterator[str]:
    """The warning of an estimate or a job about gold values that are not labels, if there are any."""
    if task.gold_field is not None and not gold_rows:
        yield f"no row has gold: {task.gold_field!r} is blank or null in all rows, so the report gives no accuracy"
    if not unmatched.rows:
        return
    commonest = unmatched.commonest()
    shown = ", ".join(f"{found.value!r} in {found.rows}" for found in commonest)
    yield (
        f"of {counted(gold_rows, 'row')} with gold {unmatched.rows} {by_number(unmatched.rows, 'holds', 'hold')} "
        f"none of the labels: {shown}; {by_number(unmatched.rows, 'it is', 'they are')} left out of the accuracy. "
        f"{_remedy(commonest)}"
    )


def _remedy(commonest: Sequence[GoldValue]) -> str:
    """Advice on gold values that are not labels; suggests no label for them, since that would be a guess."""
    meant = {found.value: "..." for found in commonest if not says_missing(found.value)}
    if not meant:
        return "Leave these cells blank if no gold is known there"
    example = json.dumps(meant, ensure_ascii=False)
    return (
        f"If such a value stands for a label, say so in task.gold_values: {example} with a label in place of each ..."
    )
