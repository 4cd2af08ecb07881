"""Labelled rows of a finished job."""

from typing import Any

import orjson

from service.identifiers import Label, Row
from service.records.labels import LabeledRow, LabelState, LabelStatus

LABELED, UNCERTAIN, UNLABELED = LabelStatus.LABELED, LabelStatus.UNCERTAIN, LabelStatus.UNLABELED


def labeled(
    fields: dict[str, Any],
    label: int | None,
    *,
    position: int = 0,
    confidence: float | None = 0.9,
    status: LabelStatus = LABELED,
    gold: object = None,
) -> LabeledRow:
    found = None if label is None else Label(label)
    state = LabelState(position=Row(position), label=found, confidence=confidence, margin=1.0, status=status)
    return LabeledRow(
        id=f"row-{position}", data=orjson.dumps(fields), gold=None if gold is None else orjson.dumps(gold), state=state
    )
