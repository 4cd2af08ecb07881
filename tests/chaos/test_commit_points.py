"""Whichever transaction of a worker is cut off, rolled back or committed without its knowing, nothing changes.

Where chaos draws some moments, this takes every one of a small job: its claim, each look at memory, each answer
and step that is stored, its end. The short form takes every thirteenth and the last two: they come by fours, so
each kind is among them.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import pytest
from sqlalchemy import text

from service.bootstrap import build_application
from service.identifiers import JobId, WorkerId
from service.ports.store import Store, WorkerUnit
from service.records.access import LOCAL_CALLER
from service.storage.store import PostgresStore
from tests.chaos.small_jobs import SmallService, config, rows, small_service
from tests.chaos.undisturbed import result_bytes, undisturbed
from tests.long import LONG
from tests.support.forwarding import ForwardingStore
from workers.worker import Worker

FEWEST_POINTS = 40
EVERY = 1 if LONG else 13
Outcome = tuple[bytes, Counter[int]]  # the result, and how often each shard was finished


class Died(BaseException):
    """The worker has died. Not derived from Exception, which the worker would handle."""


class End(StrEnum):
    """How the transaction during which a worker dies ends."""

    ROLLED_BACK = "rolled back"
    COMMITTED = "committed"  # but the answer was lost


class FragileStore(ForwardingStore):
    """A store whose worker dies with its n-th transaction."""

    def __init__(self, store: Store, fatal: int | None, end: End) -> None:
        super().__init__(store)
        self._fatal = fatal
        self._end = end
        self.transactions = 0

    @asynccontextmanager
    async def worker_unit(self) -> AsyncIterator[WorkerUnit]:
        self.transactions += 1
        dies = self.transactions == self._fatal
        async with self._store.worker_unit() as unit:
            yield unit
            if dies and self._end is End.ROLLED_BACK:
                raise Died  # with every statement done, and none of them kept
        if dies:
            raise Died


async def died(place: SmallService, fatal: int | None, end: End) -> tuple[bool, int]:
    """Let a worker run until nothing is left to do, or to its death; whether it died, and its transactions."""
    fragile = FragileStore(place.store, fatal, end)
    worker = Worker(build_application(place.application.settings, store=fragile), WorkerId(f"worker {fatal}"))
    try:
        while await worker.work_once():
            pass
    except Died:
        return True, fragile.transactions
    return False, fragile.transactions


async def disturbed(place: SmallService, fatal: int, end: End) -> Outcome:
    """The outcome of a job whose first worker dies in this transaction, and whose second one lives."""
    await execute(place.store, "TRUNCATE remembered_answers")  # so that it asks as the first job did
    job_id = await place.submitted()
    first, _ = await died(place, fatal, end)
    await execute(place.store, "UPDATE work_items SET lease_until = now() WHERE status = 'running'")
    second, _ = await died(place, None, end)
    assert (first, second) == (True, False)
    return await outcome(place, job_id)


async def outcome(place: SmallService, job_id: JobId) -> Outcome:
    assert (await place.client.get(f"/v1/jobs/{job_id}")).json()["status"] == "succeeded"
    async with place.store.project_unit(LOCAL_CALLER) as unit:
        log = await unit.events.after(job_id, 0, limit=1000)
    finished = Counter(event.data["shard"] for event in log if event.type == "shard.finished")
    return await result_bytes(place.client, job_id), finished


async def execute(store: PostgresStore, statement: str) -> None:
    async with store._engine.begin() as connection:
        await connection.execute(text(statement))


@pytest.mark.parametrize("end", [pytest.param(End.ROLLED_BACK, marks=pytest.mark.long), End.COMMITTED], ids=str)
@pytest.mark.timeout(300)
async def test_a_worker_may_die_with_any_of_its_transactions(database_url: str, end: End) -> None:
    expected = await undisturbed(rows(), config())
    whole = (expected.result, Counter(expected.checkpoints.keys()))
    async with small_service(PostgresStore(database_url)) as place:
        calm = await place.submitted()
        dead, points = await died(place, None, end)
        assert (dead, points >= FEWEST_POINTS) == (False, True)
        assert await outcome(place, calm) == whole
        tried = sorted({*range(1, points + 1, EVERY), points - 1, points})
        assert [point for point in tried if await disturbed(place, point, end) != whole] == []
