"""Real workers on an inference server that is killed and started again."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from service.identifiers import JobId
from service.records.jobs import JobStatus
from service.records.labels import LabeledRow
from tests.long import LONG
from tests.support.running.claims import FOLDS, PAPER, config, rows
from tests.support.running.processes import Laboratory, Workers, laboratory, until, worker_processes
from tests.support.running.scoring_server import running_server

CALM = 30.0  # a lease that no live worker loses, in seconds


async def submitted(lab: Laboratory, count: int, search: dict[str, Any], workers: Workers) -> JobId:
    """A job that workers have begun."""
    job_id = await lab.submit(rows(count), config(search))
    for _ in range(2):
        workers.start()
    await lab.under_way(job_id)
    return job_id


@pytest.mark.parametrize(
    ("search", "count"),
    [pytest.param(PAPER, 20, marks=pytest.mark.long), (FOLDS, 120 if LONG else 48)],
    ids=["paper", "folds"],
)
async def test_a_job_resumes_by_itself_when_its_server_is_back(
    database_url: str, operator: asyncpg.Connection, search: dict[str, Any], count: int
) -> None:
    async with laboratory(database_url) as calm:
        expected = await calm.undisturbed(rows(count), config(search))
    with running_server() as server:
        async with laboratory(database_url, server.backends) as lab:
            with worker_processes(database_url, lease_seconds=CALM, backends=server.backends) as workers:
                job_id = await submitted(lab, count, search, workers)
                server.kill()
                await lab.paused(job_id)
                log = await lab.events(job_id)
                await claimed_again(operator, times=3)
                assert await lab.events(job_id) == log
                server.start()
                ended = await lab.ended(job_id)
            types = [event.type for event in await lab.events(job_id)]
            found = await lab.result(job_id)
    assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)
    assert (types.count("job.paused"), types.count("job.resumed")) == (1, 1)
    assert states(found) == states(expected)


async def claimed_again(operator: asyncpg.Connection, *, times: int) -> None:
    """Wait until workers have claimed shards this many times more."""
    before = await operator.fetchval("SELECT sum(epoch) FROM work_items")

    async def often_enough() -> bool:
        return bool(await operator.fetchval("SELECT sum(epoch) FROM work_items") >= before + times)

    await until(often_enough)


def states(found: Sequence[LabeledRow]) -> list[object]:
    return [row.state for row in found]


@pytest.mark.long  # the short form has `tests/unit/workers/test_backends.py`
async def test_a_server_that_comes_back_with_another_model_ends_the_job(database_url: str) -> None:
    with running_server() as server:
        async with laboratory(database_url, server.backends) as lab:
            with worker_processes(database_url, lease_seconds=CALM, backends=server.backends) as workers:
                job_id = await submitted(lab, 36, {**PAPER, "draws_per_row": 1000}, workers)
                server.kill()
                server.start("another")
                ended = await lab.ended(job_id)
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "BackendChanged"
    assert "embedded|twin|None|twin" in ended.error["message"]
    assert "embedded|another|None|twin" in ended.error["message"]
