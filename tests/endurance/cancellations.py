"""200 jobs cancelled at random steps, by two real worker processes: `make endure` (20 of them are in `make test`)."""

from statistics import median

import pytest

from service.records.jobs import JobStatus
from tests.integration.interruptions import cancelled
from tests.support.running.processes import laboratory, worker_processes

CANCELLATIONS = 200
LEASE_SECONDS = 9.0  # long compared with a request on a busy machine
HEARTBEAT_SECONDS = LEASE_SECONDS / 3


@pytest.mark.timeout(3600)
async def test_jobs_cancelled_at_200_random_steps_end_within_two_heartbeats(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with laboratory(database_url) as lab:
        with worker_processes(database_url, lease_seconds=LEASE_SECONDS) as workers:
            for _ in range(2):
                workers.start()
            found = [await cancelled(lab, seed) for seed in range(CANCELLATIONS)]
    stopped = [one for one in found if one.job.status is JobStatus.CANCELLED]
    seconds = sorted(second for one in stopped for second in one.seconds)
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what this is for
            f"\n{len(stopped)} of {CANCELLATIONS} jobs cancelled, the others had ended;"
            f" heartbeats until the end: median {median(seconds) / HEARTBEAT_SECONDS:.2f},"
            f" longest {seconds[-1] / HEARTBEAT_SECONDS:.2f}"
        )
    assert len(stopped) >= CANCELLATIONS // 2
    assert seconds[-1] <= 2 * HEARTBEAT_SECONDS
