"""Jobs that end their workers: one that always does so at the same step is given up, one that advances is not."""

from typing import Any

import asyncpg
import pytest

from service.identifiers import JobId
from service.records.jobs import JobStatus
from service.storage.engine import driver_address
from tests.chaos.poisoned_worker import POISON, TIRING
from tests.chaos.stage import MAX_CRASHES, Pool
from tests.support.running.claims import config
from tests.support.running.processes import Laboratory, laboratory, until, worker_processes

CALM = 60.0  # a lease that no live worker loses, in seconds
FOLDS = {"strategy": "folds", "objective": "utility", "initial_rows": 4, "restarts": 1}
PAPER = {"strategy": "paper", "draws_per_row": 8, "seed_labels": 4}
ROWS, CRASHES = 36, 20  # rows, and the number of workers that end on them
MODULE = "tests.chaos.poisoned_worker"


def rows(count: int, word: str = "") -> list[dict[str, Any]]:
    """The last row has the word, which a growing labelling does not meet at once."""
    texts = [*(f"claim {row}" for row in range(count - 1)), f"the last claim {word}"]
    return [{"text": text, "question": row // 2} for row, text in enumerate(texts)]


async def supervised(lab: Laboratory, database_url: str, pool: Pool, *job_ids: JobId) -> int:
    """Start a worker whenever none runs, until the jobs have ended; returns how many workers ended before that.

    The lease of a dead worker expires at once.
    """
    address = driver_address(database_url)
    operator = await asyncpg.connect(address)
    deaths = 0

    async def over() -> bool:
        nonlocal deaths
        for pid in pool.vanished():
            pool.running.discard(pid)
            await operator.execute("UPDATE work_items SET lease_until = now() WHERE status = 'running'")
            deaths += 1
        pool.fill()
        return all([(await lab.job(job_id)).status.is_final for job_id in job_ids])

    await until(over, pause_seconds=0.05)
    await operator.close()
    return deaths


@pytest.mark.timeout(300)
async def test_a_job_that_crashes_every_worker_fails_and_the_others_finish(database_url: str) -> None:
    async with laboratory(database_url) as lab:
        expected = await lab.undisturbed(rows(12), config(PAPER))
        poisoned, healthy = await lab.submit(rows(12, POISON), config(FOLDS)), await lab.submit(rows(12), config(PAPER))
        with worker_processes(database_url, lease_seconds=CALM, max_crashes=MAX_CRASHES, module=MODULE) as workers:
            deaths = await supervised(lab, database_url, Pool(workers, 1), poisoned, healthy)
        failed, saved = await lab.job(poisoned), await lab.events(poisoned, "job.progress")
        assert (failed.status, deaths) == (JobStatus.FAILED, MAX_CRASHES)
        assert failed.error == {
            "code": "worker_crashed",
            "message": "shard 0 was given up after 5 workers ended on it without any progress in between",
        }
        assert len(saved) > 0  # it ended its workers half-way
        assert (await lab.job(healthy)).status is JobStatus.SUCCEEDED
        assert await lab.result(healthy) == expected


@pytest.mark.long  # the short form has `tests/behaviour/test_claiming.py`
@pytest.mark.timeout(300)
async def test_a_job_that_advances_between_many_crashes_does_not_fail(database_url: str) -> None:
    async with laboratory(database_url) as lab:
        expected = await lab.undisturbed(rows(ROWS, TIRING), config(PAPER))
        job_id = await lab.submit(rows(ROWS, TIRING), config(PAPER))
        with worker_processes(database_url, lease_seconds=CALM, max_crashes=MAX_CRASHES, module=MODULE) as workers:
            deaths = await supervised(lab, database_url, Pool(workers, 1), job_id)
        assert deaths >= CRASHES, deaths
        assert (await lab.job(job_id)).status is JobStatus.SUCCEEDED
        assert await lab.result(job_id) == expected
