"""Deletes data past its retention period, in small units of work (docs/retention.md)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from service.ports.retention import RetentionStore
from service.ports.store import Store
from service.records.jobs import Swept

CHUNK_ROWS = 5_000  # rows that one unit of work deletes, within milliseconds
CHUNK_JOBS = 100
MAX_CHUNKS = 50  # of one kind per run; the next run deletes the rest, so that no kind delays the others

Sweep = Callable[[RetentionStore], Awaitable[Swept]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The retention period of each kind of data; None keeps it for ever."""

    idempotency_keys: timedelta  # since their first use
    events: timedelta | None  # since the end of their job
    jobs: timedelta | None  # since their end
    usage: timedelta | None
    deliveries: timedelta | None  # to webhooks, since their creation; pending ones are kept
    audit: timedelta | None


@dataclass(frozen=True, slots=True)
class Deletions:
    """The number of rows that one run deleted, by kind, and whether more data is past its period."""

    removed: Mapping[str, int]
    has_more: bool


async def delete_expired(store: Store, retention: Retention) -> Deletions:
    """Run all deletions once; does nothing while another process runs them. Raises StorageUnavailable."""
    removed, has_more = Counter[str](), False
    for name, sweep in _sweeps(retention):
        for _ in range(MAX_CHUNKS):
            async with store.maintenance_unit() as unit:
                if not await unit.is_elected():
                    return Deletions(+removed, has_more=False)
                swept = await sweep(unit)
            removed[name] += swept.removed
            if swept.is_done:
                break
        else:
            has_more = True
    return Deletions(+removed, has_more)


def _sweeps(kept: Retention) -> Iterator[tuple[str, Sweep]]:
    """The deletions by kind. Jobs come before event logs, since deleting a job also deletes its log."""
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
