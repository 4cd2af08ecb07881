"""Turns labelled comparisons into pairs for trainings of kind `reward` (docs/training.md#reward-models).

A row of an antisymmetric relation says whether its `first` text is better than its `second`. Its swapped twin compares
the same two texts, so both rows make one pair.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import orjson

from service.config import Task
from service.jobs.task.comparison import Comparer
from service.records.labels import LabeledRow
from service.relations.antisymmetric import AntisymmetricRelation
from service.relations.columns import Fields
from service.trainings.examples import Example, RowGold, Selection
from service.trainings.request import RowSelection

_BINARY = 2


@dataclass(frozen=True, slots=True)
class _Preference:
    """The text that one row prefers, and the other one."""

    prompt: str
    chosen: str
    rejected: str
    confidence: float
    chosen_first: bool
    gold_agrees: bool | None  # whether the chosen text is the better one by gold

    @property
    def key(self) -> bytes:
        """Identifies the pair: equal for a row and its twin, whichever text each prefers."""
        return _digest((self.prompt, *sorted((self.chosen, self.rejected))))

    @property
    def verdict(self) -> bytes:
        """Equal for rows of the pair that prefer the same text."""
        return _digest((self.prompt, self.chosen, self.rejected))


@dataclass(slots=True)
class _Votes:
    verdict: bytes
    confidences: list[float]
    orders: set[bool]
    golds: set[bool]
    is_contradicted: bool = False
    is_given: bool = False


class Pairs:
    """Makes pairs of a job's rows in two passes: `add` counts the preferences, then `of` gives each pair once."""

    def __init__(self, task: Task, comparison: AntisymmetricRelation, rows: RowSelection) -> None:
        self._comparer, self._is_binary = Comparer(task, comparison), len(task.labels) == _BINARY
        self._selection, self._gold = Selection(task, rows), RowGold(task)
        self._votes: dict[bytes, _Votes] = {}

    @property
    def contradicted(self) -> int:
        """The number of pairs left out because their rows prefer different texts."""
        return sum(votes.is_contradicted for votes in self._votes.values())

    def add(self, row: LabeledRow) -> None:
        """Count the preference of the next row."""
        preference = self._preference(row)
        if preference is None:
            return
        votes = self._votes.setdefault(preference.key, _Votes(preference.verdict, [], set(), set()))
        votes.is_contradicted |= votes.verdict != preference.verdict
        votes.confidences.append(preference.confidence)
        votes.orders.add(preference.chosen_first)
        if preference.gold_agrees is not None:
            votes.golds.add(preference.gold_agrees)

    def of(self, row: LabeledRow, group: str) -> Example | None:
        """The row's pair, unless an earlier row gave it or rows disagree about it."""
        preference = self._preference(row)
        votes = None if preference is None else self._votes[preference.key]
        if preference is None or votes is None or votes.is_contradicted or votes.is_given:
            return None
        votes.is_given = True
        pair: dict[str, Any] = {
            "prompt": preference.prompt,
            "chosen": preference.chosen,
            "rejected": preference.rejected,
            "weight": fmean(votes.confidences),
            "group": group,
            "id": row.id,
        }
        if len(votes.orders) == 1:
            pair["chosen_first"] = preference.chosen_first
        if len(votes.golds) == 1:  # twins may contradict each other in gold, too
            [agrees] = votes.golds
            pair["gold"] = "chosen" if agrees else "rejected"
        return pair

    def _preference(self, row: LabeledRow) -> _Preference | None:
        """The row's preference; None if the request leaves the row out, or its texts are equal or empty."""
        fields: Fields = orjson.loads(row.data)
        chosen = self._selection.of(row, fields)
        texts = self._comparer.of(fields)
        if chosen is None or texts is None:
            return None
        is_first = chosen.label == self._comparer.positive
        if not is_first and not self._is_binary:
            return None  # with more than two labels, no other label means that `second` is better
        better, worse = (texts.first, texts.second) if is_first else (texts.second, texts.first)
        return _Preference(texts.prompt, better, worse, chosen.confidence, is_first, self._agrees(row, is_first))

    def _agrees(self, row: LabeledRow, is_first: bool) -> bool | None:  # noqa: FBT001 - which text was chosen
        """Whether gold prefers the same text; None without gold, or if it prefers neither."""
        gold = self._gold.of_row(row)
        if gold is None or not (gold == self._comparer.positive or self._is_binary):
            return None
        return (gold == self._comparer.positive) == is_first


def _digest(parts: Sequence[str]) -> bytes:
    return hashlib.blake2b(orjson.dumps(parts), digest_size=16).digest()
