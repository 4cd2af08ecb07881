import asyncio
import os
import signal
from collections import Counter
from random import Random
from typing import Any

import asyncpg
import pytest

from service.records.jobs import JobStatus
from tests.long import LONG
from tests.support.running.claims import FOLDS, PAPER, config, rows
from tests.support.running.processes import (
    Laboratory,
    Workers,
    assert_no_item_was_written_by_two,
    gone,
    kill,
    laboratory,
    until,
    worker_processes,
)

KILLS, KILLS_OF_A_JOB = 20, 10  # enough to hit jobs of both strategies
CALM = 30.0  # a lease that no live worker loses, in seconds
SHORT = 1.0  # a lease that is soon over once its worker is dead
ROWS = 36 if LONG else 8  # of Algorithm 1, where each step reads all of them


async def test_two_workers_share_the_shards_of_one_job(database_url: str, operator: asyncpg.Connection) -> None:
    async with laboratory(database_url) as lab:
        with worker_processes(database_url, lease_seconds=CALM) as workers:
            for _ in range(2):
                workers.start()
            await until_listening(operator, 2)
            job_id = await lab.submit(rows(240), config(FOLDS))
            job = await lab.ended(job_id)
        started = await lab.events(job_id, "shard.started")
        finished = await lab.events(job_id, "shard.finished")
    shards = {event.data["shard"] for event in started}
    assert job.status is JobStatus.SUCCEEDED
    assert job.progress.labeled == 240
    assert len(shards) > 10
    assert Counter(event.data["shard"] for event in started) == dict.fromkeys(shards, 1)
    assert Counter(event.data["shard"] for event in finished) == dict.fromkeys(shards, 1)
    assert len({event.data["worker_id"] for event in started}) == 2


@pytest.mark.long  # the short form has `tests/chaos`
@pytest.mark.timeout(600)
async def test_workers_killed_at_random_moments_change_no_label(database_url: str) -> None:
    random, kills = Random(20), 0
    async with laboratory(database_url) as lab:
        with worker_processes(database_url, lease_seconds=SHORT) as workers:
            for number, search in enumerate((PAPER, FOLDS) * KILLS):
                examples, settings = rows(ROWS if search is PAPER else 96, number), config(search)
                expected = await lab.undisturbed(examples, settings)
                job_id = await lab.submit(examples, settings)
                at_most = min(KILLS_OF_A_JOB, KILLS - kills)
                kills += await killed_on_the_way(lab, workers, job_id, random, at_most=at_most)
                assert (await lab.job(job_id)).status is JobStatus.SUCCEEDED
                assert await lab.result(job_id) == expected
                assert_no_item_was_written_by_two(await lab.events(job_id))
                if kills == KILLS:
                    break
    assert kills == KILLS


async def killed_on_the_way(lab: Laboratory, workers: Workers, job_id: Any, random: Random, *, at_most: int) -> int:
    """Kill the only worker again and again while the job runs, then let one finish; returns the number of kills."""
    kills = 0
    while not (await lab.job(job_id)).status.is_final:
        seen = (await lab.events(job_id))[-1].sequence
        worker = workers.start()
        if kills < at_most:
            await lab.under_way(job_id, saves=random.randint(1, 12), after=seen)
            await asyncio.sleep(random.uniform(0.0, 0.02))
            kills += not (await lab.job(job_id)).status.is_final
        else:
            await lab.ended(job_id)
        kill(worker)
        await gone(worker)
    return kills


async def test_a_worker_asked_to_end_saves_and_releases_its_shard(database_url: str) -> None:
    examples, settings = rows(ROWS), config(PAPER)
    async with laboratory(database_url) as lab:
        expected = await lab.undisturbed(examples, settings)
        with worker_processes(database_url, lease_seconds=CALM) as workers:
            job_id = await lab.submit(examples, settings)
            first = workers.start()
            await lab.under_way(job_id, saves=2)
            os.kill(first, signal.SIGTERM)
            await gone(first)
            released = await lab.events(job_id, "shard.released")
            workers.start()
            assert (await lab.ended(job_id)).status is JobStatus.SUCCEEDED
        assert [event.data for event in released] == [{"shard": 0, "crashed": False}]
        assert await lab.result(job_id) == expected


async def until_listening(operator: asyncpg.Connection, workers: int) -> None:
    """Wait until this many workers wait for work."""
    listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'listen %'"

    async def enough() -> bool:
        return bool(await operator.fetchval(listening) >= workers)

    await until(enough)
