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
    """The label of one row as it is now. Confidence is a probability over the label set, margin in nats.

    The raw probability is the label's before calibration; None where it is not known.
    `reason` says why there is no label where the backend gives no scores for the row.
    """

    position: Row
    label: Label | None
    confidence: float | None
    margin: float | None
    status: LabelStatus
    raw_probability: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledRow:
    """One row of the result: the user's row and its label state."""

    id: str
    data: bytes  # JSON object without the gold column
    gold: bytes | None  # JSON value, put back in its place on export
    state: LabelState
