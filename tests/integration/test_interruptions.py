from random import Random
from typing import Any

import pytest

from service.records.jobs import JobStatus
from tests.integration.interruptions import cancelled, paused_and_resumed, result, undisturbed
from tests.long import LONG
from tests.support.running.claims import FOLDS, PAPER, config, rows
from tests.support.running.processes import laboratory, worker_processes

CANCELLATIONS = 20 if LONG else 4
JOBS_TO_PAUSE = 2 if LONG else 1  # of each strategy
LEASE_SECONDS = 3.0


@pytest.mark.timeout(300)
async def test_jobs_cancelled_at_random_steps_end_once_and_keep_what_they_have(database_url: str) -> None:
    async with laboratory(database_url) as lab:
        with worker_processes(database_url, lease_seconds=LEASE_SECONDS) as workers:
            for _ in range(2):
                workers.start()
            found = [await cancelled(lab, seed) for seed in range(CANCELLATIONS)]
    assert sum(one.job.status is JobStatus.CANCELLED for one in found) >= CANCELLATIONS // 2


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("search", "count"),
    [pytest.param(PAPER, 20, marks=pytest.mark.long), (FOLDS, 120 if LONG else 72)],
    ids=["paper", "folds"],
)
async def test_a_job_paused_and_resumed_at_random_moments_gives_the_same_bytes(
    database_url: str, search: dict[str, Any], count: int
) -> None:
    pauses = 0
    async with laboratory(database_url) as lab:
        expected = [await undisturbed(lab, rows(count, seed), config(search)) for seed in range(JOBS_TO_PAUSE)]
        with worker_processes(database_url, lease_seconds=LEASE_SECONDS) as workers:
            for _ in range(2):
                workers.start()
            for seed, whole in enumerate(expected):
                random = Random(seed)
                job_id = await lab.submit(rows(count, seed), config(search))
                pauses += await paused_and_resumed(lab, job_id, random, times=2)
                assert (await lab.ended(job_id)).status is JobStatus.SUCCEEDED
                assert await result(lab, job_id) == whole
    assert pauses >= JOBS_TO_PAUSE
