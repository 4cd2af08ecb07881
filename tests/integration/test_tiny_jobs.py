"""Many tiny jobs, and more workers than jobs at a time need."""

import pytest

from service.records.jobs import JobStatus
from tests.support.running.processes import laboratory, worker_processes

JOBS = 32
WORKERS = 4
CONFIG = {"name": "tiny", "task": {"template": "Is {a} right? It is"}}


@pytest.mark.long  # the short form has `test_contention.py`
async def test_workers_that_compete_for_tiny_jobs_run_each_of_them_once(database_url: str) -> None:
    async with laboratory(database_url) as lab:
        jobs = [await lab.submit([{"a": f"{number} {row}"} for row in range(4)], CONFIG) for number in range(JOBS)]
        with worker_processes(database_url, lease_seconds=60.0) as workers:
            for _ in range(WORKERS):
                workers.start()
            ended = [await lab.ended(job_id) for job_id in jobs]
        started = [len(await lab.events(job_id, "shard.started")) for job_id in jobs]
    assert {job.status for job in ended} == {JobStatus.SUCCEEDED}
    assert started == [1] * JOBS
