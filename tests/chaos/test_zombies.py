"""Two workers on one shard, by the trace of commits: the one that lost its lease changes nothing."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from service.errors import LeaseLost
from service.identifiers import JobId
from service.jobs.running.run import run_shard
from service.records.work import WorkOutcome
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from service.storage.engine import driver_address
from tests.chaos import trace
from tests.chaos.announcing import AnnouncingStore
from tests.chaos.small_jobs import SmallService, config, rows, small_service
from tests.chaos.undisturbed import Undisturbed, result_bytes, undisturbed
from tests.support.stored import ALICE, BOB, LONG, NO_TIME, claimed
from workers.worker import Worker


class Sleeper(DeterministicScorer):
    """A backend that sleeps in its n-th call until it is woken."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self._calls_left = call
        self.asleep = asyncio.Event()
        self.woken = asyncio.Event()

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        self._calls_left -= 1
        if self._calls_left == 0:
            self.asleep.set()
            await self.woken.wait()
        return await super().score(tree, labels, all_spellings=all_spellings, separator=separator)


async def run(place: SmallService, scorer: DeterministicScorer, name: str, lease_seconds: float) -> WorkOutcome:
    """Let a worker run the shard that it claims."""
    shard = await claimed(place.store, ALICE if name == "alice" else BOB, lease_seconds)
    return await run_shard(place.store, scorer, shard, checkpoint_seconds=0.0, stop=asyncio.Event())


async def work_off(place: SmallService) -> None:
    """Let a healthy worker do the remaining work."""
    worker = Worker(place.application, BOB)
    while await worker.work_once():
        pass


async def assert_nothing_happened(
    connection: asyncpg.Connection, place: SmallService, job_id: JobId, expected: Undisturbed
) -> None:
    steps = {(str(job_id), shard): checkpoints for shard, checkpoints in expected.checkpoints.items()}
    assert trace.violations(await trace.trace(connection), steps) == []
    assert await result_bytes(place.client, job_id) == expected.result


@pytest.mark.parametrize("calls", [1, 5])
async def test_a_worker_that_wakes_after_its_lease_writes_nothing(own_database_url: str, calls: int) -> None:
    expected = await undisturbed(rows(), config())
    connection = await observed(own_database_url)
    async with small_service(AnnouncingStore(own_database_url)) as place:
        job_id = await place.submitted()
        sleeper, successor = Sleeper(calls), Sleeper(1)
        slept = asyncio.create_task(run(place, sleeper, "alice", NO_TIME))
        await sleeper.asleep.wait()
        worked = asyncio.create_task(run(place, successor, "bob", LONG))
        await successor.asleep.wait()
        sleeper.woken.set()
        await asyncio.wait({slept})
        successor.woken.set()
        await asyncio.wait({worked})
        await work_off(place)
        await assert_nothing_happened(connection, place, job_id, expected)
        assert isinstance(slept.exception(), LeaseLost)
        assert worked.result() is WorkOutcome.SUCCEEDED
    await connection.close()


async def test_the_next_worker_resumes_from_the_last_saved_step(own_database_url: str) -> None:
    expected = await undisturbed(rows(), config())
    connection = await observed(own_database_url)
    async with small_service(AnnouncingStore(own_database_url)) as place:
        job_id = await place.submitted()
        doomed = Sleeper(5)
        dies = asyncio.create_task(run(place, doomed, "alice", NO_TIME))
        await doomed.asleep.wait()
        dies.cancel()
        await asyncio.wait({dies})
        assert [commit.what for commit in await trace.trace(connection)].count(trace.SAVED) > 0
        await work_off(place)
        await assert_nothing_happened(connection, place, job_id, expected)
    await connection.close()


async def observed(own_database_url: str) -> asyncpg.Connection:
    """A connection to the database, which records the trace from now on."""
    connection = await asyncpg.connect(driver_address(own_database_url))
    await trace.install(connection)
    return connection
