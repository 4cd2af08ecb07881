"""How much a project may have: pure rules over what it has already."""

from collections.abc import Mapping
from dataclasses import replace

from service.errors import Fault, InvalidInput, QuotaExceeded, QuotaExhausted, QuotaState, QuotaTooSmall
from service.records.access import Holdings, Quotas, Size

JOB_RETRY_SECONDS = 30.0  # nobody knows when a job will end

QUOTA_NAMES = tuple(Quotas.__slots__)


def overridden(quotas: Quotas, overrides: Mapping[str, int]) -> Quotas:
    """The operator's quotas with those that a project has of its own; names of later releases are passed over."""
    return replace(quotas, **{name: limit for name, limit in overrides.items() if name in QUOTA_NAMES})


def parsed_overrides(given: Mapping[str, int | None], before: Mapping[str, int]) -> dict[str, int]:
    """A project's own quotas after a change; None takes one back. Raises InvalidInput."""
    faults = [Fault(f"is none of {', '.join(QUOTA_NAMES)}", field=name) for name in given if name not in QUOTA_NAMES]
    faults += [Fault("0 (no limit) or more", field=name) for name, limit in given.items() if limit and limit < 0]
    if faults:
        raise InvalidInput("these quotas cannot be set", faults)
    return {name: limit for name, limit in {**before, **given}.items() if limit is not None}


def limits_jobs(quotas: Quotas) -> bool:
    """Whether anything has to be counted before a job is taken in."""
    return any((quotas.jobs_in_flight, quotas.rows, quotas.bytes, quotas.tokens_per_day))


def check_room(quotas: Quotas, usage: Holdings, new: Size) -> None:
    """Raise QuotaExceeded where one more job of this size would be too much beside what there is."""
    for name, limit, used, more in (
        ("rows", quotas.rows, usage.rows, new.rows),
        ("bytes", quotas.bytes, usage.bytes, new.bytes),
    ):
        state = QuotaState(quota=name, limit=limit, used=used)
        if limit and more > limit:
            raise QuotaTooSmall(f"the data set has {more} {name} and a project may have {limit}", state)
        if limit and used + more > limit:
            message = f"the project has {used} of {limit} {name} and the data set {more} more; delete jobs to make room"
            raise QuotaExceeded(message, state)
    if quotas.jobs_in_flight and usage.jobs_in_flight >= quotas.jobs_in_flight:
        state = QuotaState(quota="jobs_in_flight", limit=quotas.jobs_in_flight, used=usage.jobs_in_flight)
        message = f"the project has {state.used} jobs that have not ended, and may have {state.limit}"
        raise QuotaExhausted(message, state, retry_after_seconds=JOB_RETRY_SECONDS)
    check_tokens(quotas, usage.tokens_today, usage.seconds_left_today)


def check_tokens(quotas: Quotas, used: int, seconds_left_today: float) -> None:
    """Raise QuotaExhausted where the project has had computed today what it may have in a day."""
    if quotas.tokens_per_day and used >= quotas.tokens_per_day:
        state = QuotaState(quota="tokens_per_day", limit=quotas.tokens_per_day, used=used)
        message = f"the project has had {state.used} of {state.limit} tokens computed today (UTC)"
        raise QuotaExhausted(message, state, retry_after_seconds=seconds_left_today)


def check_streams(quotas: Quotas, open_streams: int) -> None:
    """Raise QuotaExhausted where one more event stream would be too much."""
    limit = quotas.event_streams
    if limit and open_streams >= limit:
        state = QuotaState(quota="event_streams", limit=limit, used=open_streams)
        message = f"the project has {open_streams} event streams open, and may have {limit}"
        raise QuotaExhausted(message, state, retry_after_seconds=JOB_RETRY_SECONDS)
