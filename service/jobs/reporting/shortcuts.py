"""Finds shortcuts: features such as length or position that predict the labels beside the question."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.jobs.reporting.prediction import Learner, balanced_accuracy, learn_thresholds, learn_values
from service.jobs.reporting.sample import RowSample, as_numbers

FEWEST_ROWS = 20  # fewer labelled rows prove nothing
FEWEST_OF_LABEL = 5  # rows; rarer labels are ignored, since a single row would decide
SAME_AS_TEXT = 0.5  # a column with at least this many distinct values per distinct text is the claim itself


class FeatureKind(StrEnum):
    """The kinds of features that labels might follow."""

    LENGTH = "length"  # characters of the text shown to the language model
    POSITION = "position"  # in the data set
    COLUMN = "column"  # a column's value
    COLUMN_LENGTH = "column_length"  # characters of one of the template's columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """How well one feature alone predicts the labels."""

    kind: FeatureKind
    column: str | None  # the feature's column, if it has one
    balanced_accuracy: float  # on held-out rows; 1 / number of labels is chance
    above_majority: float  # the same, rescaled so that chance is 0 and certainty 1
    is_claim: bool  # the template asks about this column, so labels should follow it


@dataclass(frozen=True)
class _Feature:
    kind: FeatureKind
    column: str | None
    values: Sequence[Hashable]
    learn: Learner[Any]
    is_claim: bool = False


def find_shortcuts(sample: RowSample) -> list[Shortcut]:
    """Measure every feature of the sample, the best predictor first; takes seconds with many columns."""
    counts = Counter(sample.labels)
    rows = [i for i, label in enumerate(sample.labels) if counts[label] >= FEWEST_OF_LABEL]
    labels, halves = [sample.labels[i] for i in rows], sample.halves()
    if len(rows) < FEWEST_ROWS or len(set(labels)) < 2:
        return []
    sides = [halves[i] for i in rows]
    chance = 1 / len(set(labels))
    found = []
    for feature in _features(sample):
        accuracy = balanced_accuracy([feature.values[i] for i in rows], labels, sides, feature.learn)
        found.append(
            Shortcut(
                kind=feature.kind,
                column=feature.column,
                balanced_accuracy=accuracy,
                above_majority=max(0.0, (accuracy - chance) / (1 - chance)),
                is_claim=feature.is_claim,
            )
        )
    return sorted(found, key=lambda shortcut: -shortcut.balanced_accuracy)


def _features(sample: RowSample) -> Iterator[_Feature]:
    yield _Feature(FeatureKind.LENGTH, None, sample.lengths, learn_thresholds)
    yield _Feature(FeatureKind.POSITION, None, sample.positions, learn_thresholds)
    for column, lengths in sample.cell_lengths.items():
        if as_numbers(sample.cells.get(column, [])) is None:
            yield _Feature(FeatureKind.COLUMN_LENGTH, column, lengths, learn_thresholds)
    for column, cells in sample.cells.items():
        different = len(set(cells))
        is_claim = column in sample.shown and different >= SAME_AS_TEXT * len(sample.texts)
        numbers = as_numbers(cells)
        if numbers is not None and different > 2:
            yield _Feature(FeatureKind.COLUMN, column, numbers, learn_thresholds, is_claim)
        elif 1 < different < len(cells):
            yield _Feature(FeatureKind.COLUMN, column, cells, learn_values, is_claim)
