"""The rules of a project's quotas: pure checks of its present usage plus a new job against its limits."""

from collections.abc import Mapping
from dataclasses import replace

from service.errors import Fault, InvalidInput, QuotaExceeded, QuotaExhausted, QuotaState, QuotaTooSmall
from service.records.access import Holdings, Quotas, Size
from service.values import by_number, counted

JOB_RETRY_SECONDS = 30.0  # a guess, since the end of a job cannot be predicted

QUOTA_NAMES = tuple(Quotas.__slots__)


def overridden(quotas: Quotas, overrides: Mapping[str, int]) -> Quotas:
    """The operator's quotas, replaced by a project's own where it has any; ignores names of later releases."""
    return replace(quotas, **{name: limit for name, limit in overrides.items() if name in QUOTA_NAMES})


def parsed_overrides(given: Mapping[str, int | None], before: Mapping[str, int]) -> dict[str, int]:
    """A project's own quotas after a change; None removes one. Raises InvalidInput."""
    faults = [Fault(f"is none of {', '.join(QUOTA_NAMES)}", field=name) for name in given if name not in QUOTA_NAMES]
    faults += [Fault("0 (no limit) or more", field=name) for name, limit in given.items() if limit and limit < 0]
    if faults:
        raise InvalidInput("these quotas cannot be set", faults)
    return {name: limit for name, limit in {**before, **given}.items() if limit is not None}


def limits_jobs(quotas: Quotas) -> bool:
    """Whether some quota applies to new jobs, so that the usage must be counted."""
    return any((quotas.jobs_in_flight, quotas.rows, quotas.bytes, quotas.tokens_per_day))


def check_room(quotas: Quotas, usage: Holdings, new: Size) -> None:
    """Raise QuotaExceeded if the project's usage plus a job of this size exceeds a quota."""
    for name, limit, used, more in (
        ("rows", quotas.rows, usage.rows, new.rows),
        ("bytes", quotas.bytes, usage.bytes, new.bytes),
    ):
        state = QuotaState(quota=name, limit=limit, used=used)
        if limit and more > limit:
            raise QuotaTooSmall(f"the data set has {counted(more, name[:-1])} and a project may have {limit}", state)
        if limit and used + more > limit:
            own = f"{used} of {counted(limit, name[:-1])}"
            message = f"the project has {own} and the data set {more} more; delete jobs to make room"
            raise QuotaExceeded(message, state)
    if quotas.jobs_in_flight and usage.jobs_in_flight >= quotas.jobs_in_flight:
        state = QuotaState(quota="jobs_in_flight", limit=quotas.jobs_in_flight, used=usage.jobs_in_flight)
        jobs = f"{counted(state.used, 'job')} that {by_number(state.used, 'has', 'have')} not ended"
        message = f"the project has {jobs}, and may have {state.limit}"
        raise QuotaExhausted(message, state, retry_after_seconds=JOB_RETRY_SECONDS)
    check_tokens(quotas, usage.tokens_today, usage.seconds_left_today)


def check_tokens(quotas: Quotas, used: int, seconds_left_today: float) -> None:
    """Raise QuotaExhausted if the project has used up its tokens of the day."""
    if quotas.tokens_per_day and used >= quotas.tokens_per_day:
        state = QuotaState(quota="tokens_per_day", limit=quotas.tokens_per_day, used=used)
        message = f"the project has had {state.used} of {counted(state.limit, 'token')} computed today (UTC)"
        raise QuotaExhausted(message, state, retry_after_seconds=seconds_left_today)


def check_streams(quotas: Quotas, open_streams: int) -> None:
    """Raise QuotaExhausted if one more event stream would exceed the quota."""
    limit = quotas.event_streams
    if limit and open_streams >= limit:
        state = QuotaState(quota="event_streams", limit=limit, used=open_streams)
        message = f"the project has {open_streams} event streams open, and may have {limit}"
        raise QuotaExhausted(message, state, retry_after_seconds=JOB_RETRY_SECONDS)
