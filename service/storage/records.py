"""Converts stored values for their readers: time left, times in cursors, gold values, rows without a state."""

from datetime import datetime

import orjson

from service.errors import InvalidCursor
from service.identifiers import Row
from service.records.jobs import JobStatus, TrainingPace
from service.records.labels import LabelState

SUMMED = ("labeled", "iterations", "accepted", "inconsistencies", "prompts", "tokens_sent", "tokens_computed")

# A running shard counts as at most this share: all its rows have labels long before its search ends.
RUNNING_SHARD_SHARE = 0.9


def eta_seconds(status: JobStatus, elapsed_seconds: float | None, done: float, rows: int) -> float | None:
    """Seconds left at the pace so far; None before the first progress, 0 after the end."""
    if status.is_final:
        return 0.0
    if status is not JobStatus.RUNNING or elapsed_seconds is None or done <= 0:
        return None
    return elapsed_seconds * (rows - done) / done


def seconds_of_trainings(status: JobStatus, elapsed_seconds: float | None, pace: TrainingPace | None) -> float | None:
    """Seconds left, at most, of a job whose search trains; None until the first training has ended, 0 after the end.

    Its labels come long before its trainings, so that their number tells nothing.
    """
    if status.is_final:
        return 0.0
    if status is not JobStatus.RUNNING or elapsed_seconds is None or pace is None or pace.tokens_read <= 0:
        return None
    return max(0.0, elapsed_seconds - pace.since_seconds) * max(0, pace.tokens_left) / pace.tokens_read


def parsed_time(text: str) -> datetime:
    """The time in a cursor. Raises InvalidCursor."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidCursor(f"{text!r} is not a time") from error
    if moment.tzinfo is None:
        raise InvalidCursor(f"{text!r} has no time zone")
    return moment


def gold_text(value: bytes) -> str | None:
    """A gold value as text: a string unchanged, JSON true as "True"; None for null."""
    parsed = orjson.loads(value)
    if parsed is None or isinstance(parsed, str):
        return parsed
    return str(parsed) if isinstance(parsed, bool) else value.decode()


def unlabeled(position: Row) -> LabelState:
    """The label state of a row before a worker writes one."""
    return LabelState(position=position)
