"""The twin's store: one unit of work at a time, taken back as a whole on any exception."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

from service.entities import Caller
from service.identifiers import JobId
from service.ports.observers import Census
from service.storage.memory.backends import MemoryAnswers, MemoryBackends
from service.storage.memory.census import take_census
from service.storage.memory.desk import (
    MemoryDatasets,
    MemoryEvents,
    MemoryGold,
    MemoryIdempotency,
    MemoryJobs,
    MemoryLabelReader,
)
from service.storage.memory.gate import MemoryAccount, MemoryApiKeys, MemoryAudit, MemoryProjects, MemorySpendings
from service.storage.memory.state import State
from service.storage.memory.upkeep import MemoryUpkeep
from service.storage.memory.webhooks import MemoryDeliveries, MemoryWebhooks
from service.storage.memory.workbench import MemoryLabelWriter, MemoryLeasedEvents, MemoryShardRows, MemoryShards
from service.storage.units import DeskUnit, GateUnit, WorkbenchUnit


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryNews:
    """Says when a job's events are worth another look."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there are events since the last wait ended, or after the time-out."""
        await _wait(self.arrived, timeout_seconds)
        self.arrived.clear()


class MemoryStore:
    """Everything in this process's memory; lives as long as the object does.

    Units of work wait for each other, so one must not be opened inside another.
    """

    connections_in_use = max_connections = 0

    def __init__(self, *, max_crashes: int = 5, now: Callable[[], datetime] = _utc_now) -> None:
        self._state = State(now)
        self._max_crashes = max_crashes
        self._turn = asyncio.Lock()
        self._work = asyncio.Event()
        self._readers: dict[JobId, set[MemoryNews]] = {}

    @asynccontextmanager
    async def desk(self, caller: Caller) -> AsyncIterator[DeskUnit]:
        """A unit of work for the API, on behalf of the caller's project."""
        project = caller.project
        async with self._transaction() as state:
            yield DeskUnit(
                datasets=MemoryDatasets(state, project),
                jobs=MemoryJobs(state, project),
                labels=MemoryLabelReader(state, project),
                gold=MemoryGold(state, project),
                events=MemoryEvents(state, project),
                idempotency=MemoryIdempotency(state, project),
                account=MemoryAccount(state, project),
                audit=MemoryAudit(state),
                backends=MemoryBackends(state),
                webhooks=MemoryWebhooks(state, project),
            )

    @asynccontextmanager
    async def gate(self) -> AsyncIterator[GateUnit]:
        """A unit of work for whoever lets callers in."""
        async with self._transaction() as state:
            yield GateUnit(keys=MemoryApiKeys(state), projects=MemoryProjects(state), audit=MemoryAudit(state))

    @asynccontextmanager
    async def workbench(self) -> AsyncIterator[WorkbenchUnit]:
        """A unit of work for a worker."""
        async with self._transaction() as state:
            yield WorkbenchUnit(
                shards=MemoryShards(state, max_crashes=self._max_crashes),
                rows=MemoryShardRows(state),
                labels=MemoryLabelWriter(state),
                events=MemoryLeasedEvents(state),
                backends=MemoryBackends(state),
                answers=MemoryAnswers(state),
                deliveries=MemoryDeliveries(state),
                spendings=MemorySpendings(state),
            )

    @asynccontextmanager
    async def upkeep(self) -> AsyncIterator[MemoryUpkeep]:
        """A unit of work for the maintainer."""
        async with self._transaction() as state:
            yield MemoryUpkeep(state)

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when shards may have been queued since the last wait ended, or after the time-out."""
        await _wait(self._work, timeout_seconds)
        self._work.clear()

    @contextmanager
    def follow_events(self, job_id: JobId) -> Iterator[MemoryNews]:
        """Hear of the job's events for as long as the context lasts."""
        news = MemoryNews()
        self._readers.setdefault(job_id, set()).add(news)
        try:
            yield news
        finally:
            self._readers[job_id].discard(news)
            if not self._readers[job_id]:
                del self._readers[job_id]

    @property
    def load(self) -> "MemoryStore":
        """Its own: there are no connections."""
        return self

    async def census(self) -> Census:
        """How many jobs and shards there are of all projects, and how long work has waited."""
        async with self._transaction() as state:
            return take_census(state)

    async def ping(self) -> None:
        """Memory can always be reached."""

    async def close(self) -> None:
        """Nothing to release."""

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[State]:
        async with self._turn:
            self._state.open_unit()
            try:
                yield self._state
            except BaseException:
                self._state.roll_back()
                raise
            self._notify()

    def _notify(self) -> None:
        if self._state.work_queued:
            self._work.set()
        for job_id in self._state.changed_jobs:
            for reader in self._readers.get(job_id, ()):
                reader.arrived.set()


async def _wait(news: asyncio.Event, timeout_seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            await news.wait()
