"""The in-memory store: runs one unit of work at a time, and rolls it back on any exception."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

from service.identifiers import DEFAULT_PROJECT
from service.ports.store import ProjectUnit, WorkerUnit
from service.records.access import Caller
from tests.support.memory import project_unit as api
from tests.support.memory import worker_unit as workers
from tests.support.memory.state import State

_MISSING: Any = None  # parts that no test of use cases needs


class MemoryStore:
    """A store in this object. Units of work wait for each other, so a test must not open one within another."""

    connections_in_use = max_connections = 0
    access_unit = maintenance_unit = follow_events = job_statistics = ping = _MISSING

    def __init__(self, *, max_crashes: int = 5, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.state = State(now)
        self._max_crashes = max_crashes
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def project_unit(self, caller: Caller) -> AsyncIterator[ProjectUnit]:
        assert caller.project == DEFAULT_PROJECT, "projects are kept apart in Postgres"
        async with self._transaction() as state:
            yield ProjectUnit(
                datasets=api.MemoryDatasets(state),
                jobs=cast("Any", api.MemoryJobs(state)),
                labels=cast("Any", api.MemoryLabels(state)),
                gold=api.MemoryLabels(state),
                events=cast("Any", api.MemoryEvents(state)),
                idempotency=api.MemoryIdempotency(),
                account=api.MemoryAccount(state),
                audit=api.MemoryAudit(),
                backends=workers.MemoryBackends(state),
                webhooks=_MISSING,
                trainings=cast("Any", workers.MemoryTrainings(state)),
            )

    @asynccontextmanager
    async def worker_unit(self) -> AsyncIterator[WorkerUnit]:
        async with self._transaction() as state:
            work = workers.MemoryWork(state, max_crashes=self._max_crashes)
            yield WorkerUnit(
                work=work,
                shards=workers.MemoryShards(state, work),
                rows=workers.MemoryRows(state),
                labels=workers.MemoryLabelWriter(state),
                events=_MISSING,
                backends=workers.MemoryBackends(state),
                answers=cast("Any", workers.MemoryAnswers(state)),
                deliveries=_MISSING,
                spendings=workers.MemorySpendings(state),
                trainings=cast("Any", workers.MemoryTrainings(state)),
            )

    async def wait_for_work(self, timeout_seconds: float) -> None:
        await asyncio.sleep(timeout_seconds)

    @property
    def load(self) -> "MemoryStore":
        """This store itself, since there are no connections."""
        return self

    async def close(self) -> None:
        """Do nothing: there are no connections to release."""

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[State]:
        async with self._turn:
            before = self.state.copy()
            try:
                yield self.state
            except BaseException:
                self.state = before
                raise
