"""Removes what is older than the operator keeps it, in small units of work (docs/retention.md)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from service.ports.retention import RetentionStore
from service.ports.store import Store
from service.records.jobs import Swept

CHUNK_ROWS = 5_000  # removed by one unit of work, which so lasts for milliseconds
CHUNK_JOBS = 100
MOST_CHUNKS = 50  # of one kind in one turn; the rest is left to the next, so that no kind keeps the others waiting

Sweep = Callable[[RetentionStore], Awaitable[Swept]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long things are kept; None is for good."""

    idempotency_keys: timedelta  # since their first use
    events: timedelta | None  # since the end of their job
    jobs: timedelta | None  # since their end
    usage: timedelta | None
    deliveries: timedelta | None  # to webhooks, since they were written; those still to be sent stay
    audit: timedelta | None


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was removed in one turn, by its name, and whether there is more to remove at once."""

    removed: Mapping[str, int]
    has_more: bool


async def tidy(store: Store, retention: Retention) -> Tidied:
    """One turn of the maintainer; where another one is at work it has nothing to do. Raises StorageUnavailable."""
    removed, has_more = Counter[str](), False
    for name, sweep in _sweeps(retention):
        for _ in range(MOST_CHUNKS):
            async with store.upkeep() as unit:
                if not await unit.is_elected():
                    return Tidied(+removed, has_more=False)
                swept = await sweep(unit)
            removed[name] += swept.removed
            if swept.is_done:
                break
        else:
            has_more = True
    return Tidied(+removed, has_more)


def _sweeps(kept: Retention) -> Iterator[tuple[str, Sweep]]:
    """What there is to remove. Jobs come before their logs, which need not be shortened if they go anyway."""
    yield "idempotency_keys", lambda unit: unit.drop_idempotency_keys(kept.idempotency_keys, at_most=CHUNK_ROWS)
    if (jobs := kept.jobs) is not None:
        yield "jobs", lambda unit: unit.retire_jobs(jobs, at_most=CHUNK_JOBS)
    yield "rows_of_jobs", lambda unit: unit.erase_retired_jobs(at_most=CHUNK_ROWS)
    if (events := kept.events) is not None:
        yield "events", lambda unit: unit.shorten_event_logs(events, at_most=CHUNK_ROWS)
    if (usage := kept.usage) is not None:
        yield "usage", lambda unit: unit.drop_usage(usage, at_most=CHUNK_ROWS)
    if (deliveries := kept.deliveries) is not None:
        yield "deliveries", lambda unit: unit.drop_deliveries(deliveries, at_most=CHUNK_ROWS)
    if (audit := kept.audit) is not None:
        yield "audit_entries", lambda unit: unit.drop_audit_entries(audit, at_most=CHUNK_ROWS)
