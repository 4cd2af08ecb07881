"""Makes pairs of comparisons: what `python -m training` reads for kind reward (docs/training.md#reward-models).

A row of an antisymmetric relation says whether its `first` text is better than its `second`. Its swapped twin says the
same once more, so both make one pair.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import orjson

from service.config import Task
from service.jobs.task.comparison import Comparer
from service.records.labels import LabeledRow
from service.relations.antisymmetric import AntisymmetricRelation
from service.relations.columns import Fields
from service.trainings.examples import Example, Selection
from service.trainings.request import RowSelection

_BINARY = 2


@dataclass(frozen=True, slots=True)
class _Told:
    """What one row says of a pair."""

    prompt: str
    chosen: str
    rejected: str
    confidence: float
    chosen_first: bool

    @property
    def key(self) -> bytes:
        """The same for a row and its twin, whichever is preferred."""
        return _digest((self.prompt, *sorted((self.chosen, self.rejected))))

    @property
    def verdict(self) -> bytes:
        """The same for rows that prefer the same text."""
        return _digest((self.prompt, self.chosen, self.rejected))


@dataclass(slots=True)
class _Votes:
    verdict: bytes
    confidences: list[float]
    orders: set[bool]
    is_contradicted: bool = False
    is_told: bool = False


class Pairs:
    """Takes in the rows of a job once to count what they say, then once more to tell each pair once."""

    def __init__(self, task: Task, comparison: AntisymmetricRelation, rows: RowSelection) -> None:
        self._comparer, self._is_binary = Comparer(task, comparison), len(task.labels) == _BINARY
        self._selection = Selection(task, rows)
        self._votes: dict[bytes, _Votes] = {}

    @property
    def contradicted(self) -> int:
        """Pairs that are left out because rows prefer different texts."""
        return sum(votes.is_contradicted for votes in self._votes.values())

    def add(self, row: LabeledRow) -> None:
        """Count what the next row says."""
        told = self._told(row)
        if told is None:
            return
        votes = self._votes.setdefault(told.key, _Votes(told.verdict, [], set()))
        votes.is_contradicted |= votes.verdict != told.verdict
        votes.confidences.append(told.confidence)
        votes.orders.add(told.chosen_first)

    def of(self, row: LabeledRow, group: str) -> Example | None:
        """The pair that the row speaks of, if rows agree on it and it was not told before."""
        told = self._told(row)
        votes = None if told is None else self._votes[told.key]
        if told is None or votes is None or votes.is_contradicted or votes.is_told:
            return None
        votes.is_told = True
        pair = {
            "prompt": told.prompt,
            "chosen": told.chosen,
            "rejected": told.rejected,
            "weight": fmean(votes.confidences),
            "group": group,
            "id": row.id,
        }
        return pair | ({"chosen_first": told.chosen_first} if len(votes.orders) == 1 else {})

    def _told(self, row: LabeledRow) -> _Told | None:
        """What the row says; nothing where it is left out, or its texts are equal or blank."""
        fields: Fields = orjson.loads(row.data)
        chosen = self._selection.of(row, fields)
        texts = self._comparer.of(fields)
        if chosen is None or texts is None:
            return None
        is_first = chosen.label == self._comparer.positive
        if not is_first and not self._is_binary:
            return None  # of several other labels none says that `second` is better
        better, worse = (texts.first, texts.second) if is_first else (texts.second, texts.first)
        return _Told(texts.prompt, better, worse, chosen.confidence, is_first)


def _digest(parts: Sequence[str]) -> bytes:
    return hashlib.blake2b(orjson.dumps(parts), digest_size=16).digest()
