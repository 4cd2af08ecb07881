"""Records of label states."""

from dataclasses import dataclass
from enum import StrEnum

from service.identifiers import Label, Row


class LabelStatus(StrEnum):
    """The state of a row's label."""

    LABELED = "labeled"
    UNCERTAIN = "uncertain"  # the margin to the runner-up is small
    UNLABELED = "unlabeled"  # there is no label; none is ever made up


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelState:
    """The present label of one row, by default none; None for an unknown number."""

    position: Row
    label: Label | None = None
    confidence: float | None = None  # probability over the label set
    margin: float | None = None  # nats
    status: LabelStatus = LabelStatus.UNLABELED
    raw_probability: float | None = None  # of the label, before calibration
    reason: str | None = None  # why a row has no label


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledRow:
    """One row of the result: the user's row and its label state."""

    id: str
    data: bytes  # JSON object without the gold column
    gold: bytes | None  # JSON value, put back in its place on export
    state: LabelState
