"""Converts stored values for their readers: time left, times in cursors, gold values, rows without a state."""

import math
from dataclasses import dataclass
from datetime import datetime

import orjson

from service.config import JobConfig, Limits
from service.errors import InvalidCursor
from service.identifiers import Row
from service.records.jobs import JobStatus, TrainingPace
from service.records.labels import LabelState
from service.search.state.problem import Parameters

SUMMED = ("labeled", "iterations", "accepted", "inconsistencies", "prompts", "tokens_sent", "tokens_computed")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLeft:
    """What a job has asked its backend and what it still asks; numbers over its shards, 0 where there are none."""

    prompts: float  # asked so far; none of those that the answer memory answered
    tokens_computed: float
    prompts_left: float  # of the shards whose search has begun
    prompts_under_way: float  # of these, the ones of present requests
    prompts_per_query: float  # of these
    waiting_rows: float  # of the shards whose search has not begun
    waiting_shards: float
    later_rows: float  # of the finished shards behind the first
    later_prompts: float  # that these have asked


def eta_seconds(
    status: JobStatus, elapsed_seconds: float | None, work: WorkLeft, config: JobConfig | None
) -> float | None:
    """Seconds left at the pace so far; None while unknown, 0 after the end.

    All rows have labels long before a search ends, so prompts tell the pace. A job ends at its limits, but for the
    requests under way, which are answered first.
    """
    if status.is_final:
        return 0.0
    if status is not JobStatus.RUNNING or elapsed_seconds is None or config is None or work.prompts <= 0:
        return None
    waiting = _prompts_of_waiting(work, config)
    if waiting is None:
        return None
    by_limits = _seconds_to_limits(config.limits, elapsed_seconds, work.tokens_computed)
    of_prompt = elapsed_seconds / work.prompts
    return max(of_prompt * work.prompts_under_way, min(of_prompt * (work.prompts_left + waiting), by_limits))


def _prompts_of_waiting(work: WorkLeft, config: JobConfig) -> float | None:
    """The prompts of the shards that have not begun: as those of finished ones, or by the method's rule."""
    if not work.waiting_rows:
        return 0.0
    if work.later_rows:
        return work.waiting_rows * work.later_prompts / work.later_rows
    if config.forecast is None or not work.prompts_per_query:
        return None
    parameters = Parameters(draws_per_row=config.search.draws_per_row)
    queries = config.forecast.later(parameters, work.waiting_rows / work.waiting_shards)
    return work.waiting_shards * queries * work.prompts_per_query


def _seconds_to_limits(limits: Limits, elapsed_seconds: float, tokens_computed: float) -> float:
    """Seconds until the job reaches one of its own limits at the pace so far."""
    seconds = math.inf if limits.max_seconds is None else limits.max_seconds - elapsed_seconds
    if limits.max_tokens_computed is not None and tokens_computed:
        seconds = min(seconds, elapsed_seconds * (limits.max_tokens_computed / tokens_computed - 1))
    return seconds


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
