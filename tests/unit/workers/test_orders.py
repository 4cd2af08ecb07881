"""How soon a worker does what people have requested: it learns of it by heartbeat."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from service.identifiers import JobId
from service.ports.store import Store
from service.records.jobs import Job, JobStatus, ListedJob
from service.records.work import Lease
from tests.support.memory.worker_unit import MemoryWork
from tests.support.running.workplace import Workplace
from tests.support.stored import cancel, claim, event_types, let_go_on, put_on_hold, queued

PATIENCE_SECONDS = 60.0
ROWS = 24
ASKED = {"pause": put_on_hold, "cancel": cancel}


class Heartbeats:
    """Counts heartbeats."""

    def __init__(self) -> None:
        self.number = 0
        self.heard = asyncio.Event()

    def restart(self) -> None:
        self.number = 0
        self.heard.clear()

    def hear(self) -> None:
        self.number += 1
        self.heard.set()


@pytest.fixture
def heartbeats(monkeypatch: pytest.MonkeyPatch) -> Heartbeats:
    """The heartbeats of every worker."""
    heard = Heartbeats()
    renew = MemoryWork.renew

    async def counted(self: MemoryWork, lease: Lease, lease_seconds: float) -> bool:
        heard.hear()
        return await renew(self, lease, lease_seconds)

    monkeypatch.setattr(MemoryWork, "renew", counted)
    return heard


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("seed", range(2))
async def test_a_shard_is_released_within_two_heartbeats_at_any_step(
    workplace: Workplace, heartbeats: Heartbeats, seed: int, asked: Callable[[Store, JobId], Awaitable[Job]]
) -> None:
    job_id = await queued(workplace.store, ROWS)
    asking, backend = list[asyncio.Task[ListedJob]](), workplace.backend

    def ask() -> None:
        heartbeats.restart()
        backend.answering.clear()  # so that the step at hand lasts until a heartbeat
        asking.append(asyncio.create_task(asked_and_answered()))

    async def asked_and_answered() -> Job:
        found = await asked(workplace.store, job_id)
        await heartbeats.heard.wait()
        backend.answering.set()
        return found

    backend.at_call[Random(seed).randint(1, 6)] = ask
    assert await asyncio.wait_for(workplace.worker.work_once(), PATIENCE_SECONDS)
    assert len(asking) == 1
    await asking[0]
    assert 1 <= heartbeats.number <= 2
    assert await claim(workplace.store) is None
    ended = await workplace.job(job_id)
    assert ended.status is (JobStatus.CANCELLED if asked is cancel else JobStatus.PAUSED)


async def test_a_paused_shard_is_released_although_its_backend_does_not_answer_and_counts_no_crash(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.worker.GRACE_SECONDS", 0.05)
    job_id = await queued(workplace.store, ROWS)
    for _ in range(4):  # more than a shard may crash
        workplace.backend.answering.clear()
        workplace.backend.asked.clear()
        working = asyncio.create_task(workplace.worker.work_once())
        await asyncio.wait_for(workplace.backend.asked.wait(), PATIENCE_SECONDS)
        await put_on_hold(workplace.store, job_id)
        assert await asyncio.wait_for(working, PATIENCE_SECONDS)
        assert await workplace.worker.work_once() is False
        workplace.backend.answering.set()
        await let_go_on(workplace.store, job_id)
    assert await workplace.worker.work_once()
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED
    types = await event_types(workplace.store, job_id)
    assert (types.count("shard.started"), types.count("shard.released")) == (5, 4)


async def test_a_shard_that_ends_before_its_worker_learns_of_the_pause_ends_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.support.running.workplace.LEASE_SECONDS", 300.0)  # no heartbeat before the end
    workplace = Workplace()
    job_id = await queued(workplace.store, 2)
    asking = list[asyncio.Task[ListedJob]]()
    workplace.backend.at_call[1] = lambda: asking.append(asyncio.create_task(put_on_hold(workplace.store, job_id)))
    assert await asyncio.wait_for(workplace.worker.work_once(), PATIENCE_SECONDS)
    assert (await asking[0]).status is JobStatus.PAUSED
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED
