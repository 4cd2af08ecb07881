"""Whichever transaction of a worker is cut off, rolled back or committed without its knowing, nothing changes.

Where chaos draws some moments, this takes every one of a small job: its claim, each look at memory, each answer
and step that is stored, its end.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api.app import create_app
from service.bootstrap import Application, build_application
from service.entities import LOCAL_CALLER
from service.identifiers import JobId, WorkerId
from service.ports import Store, Workbench
from service.settings import QueueSettings, Settings
from service.storage.store import PostgresStore
from tests.chaos.undisturbed import BACKENDS, result_bytes, undisturbed
from workers.worker import Worker

FEWEST_POINTS = 45
ROWS = 8
SEARCH = {"strategy": "folds", "anchor_rows": 4, "shard_rows": 4, "initial_rows": 4, "restarts": 1, "sweeps": 1}


def config() -> dict[str, Any]:
    relation = {"kind": "exactly_one", "group": "question"}
    return {"task": {"template": "{text}", "relations": [relation]}, "search": SEARCH}


def rows() -> list[dict[str, Any]]:
    return [{"text": f"claim {row}", "question": row // 2} for row in range(ROWS)]


class Died(BaseException):
    """The worker is gone. No error, or the worker would deal with it."""


class End(StrEnum):
    """How a transaction ends that a worker does not live to see the end of."""

    ROLLED_BACK = "rolled back"
    COMMITTED = "committed"  # but nobody was told


class FragileStore:
    """A store whose worker dies with its n-th transaction."""

    def __init__(self, store: Store, fatal: int | None, end: End) -> None:
        self._store = store
        self._fatal = fatal
        self._end = end
        self.transactions = 0
        self.desk = store.desk
        self.gate = store.gate
        self.wait_for_work = store.wait_for_work
        self.wait_for_events = store.wait_for_events
        self.ping = store.ping
        self.close = store.close

    @asynccontextmanager
    async def workbench(self) -> AsyncIterator[Workbench]:
        self.transactions += 1
        dies = self.transactions == self._fatal
        async with self._store.workbench() as unit:
            yield unit
            if dies and self._end is End.ROLLED_BACK:
                raise Died  # with every statement done, and none of them kept
        if dies:
            raise Died


@dataclass
class Place:
    """A service on a real Postgres, and small jobs to be done by workers that die."""

    client: httpx.AsyncClient
    application: Application
    store: PostgresStore

    async def submitted(self) -> JobId:
        """A queued job, which is asked as the first one was."""
        async with self.store._engine.begin() as connection:
            await connection.execute(text("TRUNCATE remembered_answers"))
        created = await self.client.post("/v1/jobs", json={"config": config(), "examples": rows()})
        assert created.status_code == 202, created.text
        return JobId(created.json()["id"])

    async def died(self, fatal: int | None, end: End) -> tuple[bool, int]:
        """Let a worker run until nothing is left to do, or to its death; whether it died, and its transactions."""
        fragile = FragileStore(self.store, fatal, end)
        application = build_application(self.application.settings, store=fragile)
        worker = Worker(application, WorkerId(f"worker {fatal}"))
        try:
            while await worker.work_once():
                pass
        except Died:
            return True, fragile.transactions
        return False, fragile.transactions

    async def ended(self, job_id: JobId) -> tuple[bytes, Counter[int]]:
        """The job's result, and how often each shard was finished."""
        assert (await self.client.get(f"/v1/jobs/{job_id}")).json()["status"] == "succeeded"
        async with self.store.desk(LOCAL_CALLER) as desk:
            log = await desk.events.after(job_id, 0, limit=1000)
        finished = Counter(event.data["shard"] for event in log if event.type == "shard.finished")
        return await result_bytes(self.client, job_id), finished

    async def disturbed(self, fatal: int, end: End) -> tuple[bytes, Counter[int]]:
        """The same of a job whose first worker dies with this transaction, and whose second one lives."""
        job_id = await self.submitted()
        died, _ = await self.died(fatal, end)
        assert died, f"there is no transaction {fatal}"
        await self.lease_runs_out()
        died, _ = await self.died(None, end)
        assert not died
        return await self.ended(job_id)

    async def lease_runs_out(self) -> None:
        """As if the time of every lease had passed."""
        async with self.store._engine.begin() as connection:
            await connection.execute(text("UPDATE shards SET lease_until = now() WHERE status = 'running'"))


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[Place]:
    store = PostgresStore(database_url)
    settings = Settings(backends=BACKENDS, queue=QueueSettings(checkpoint_seconds=0.0))
    application = build_application(settings, store=store)
    transport = httpx.ASGITransport(create_app(application))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield Place(client, application, store)
    await application.close()


@pytest.mark.parametrize("end", list(End), ids=str)
@pytest.mark.timeout(300)
async def test_a_worker_may_die_with_any_of_its_transactions(place: Place, end: End) -> None:
    expected = await undisturbed(rows(), config())
    whole = (expected.result, Counter(expected.checkpoints.keys()))
    calm = await place.submitted()
    died, points = await place.died(None, end)
    assert (died, points >= FEWEST_POINTS) == (False, True)
    assert await place.ended(calm) == whole
    assert [point for point in range(1, points + 1) if await place.disturbed(point, end) != whole] == []
