"""A person can pause and resume a job that waits for its backend: requests take precedence over outages."""

from service.ports.store import Store
from service.records.jobs import Backoff, JobStatus
from tests.support.stored import (
    ON_REQUEST,
    claim,
    claimed,
    event_types,
    job,
    let_go_on,
    outage,
    put_on_hold,
    queued,
    resume,
)


async def test_a_person_may_pause_a_job_that_waits_for_its_backend_and_then_no_worker_retries(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    await outage(store, await claimed(store))
    held = await put_on_hold(store, job_id)
    assert (held.status, held.error) == (JobStatus.PAUSED, ON_REQUEST)
    assert await claim(store) is None
    types = await event_types(store, job_id)
    assert types[-2:] == ["job.paused", "job.paused"]
    resumed = await let_go_on(store, job_id)
    assert (resumed.status, resumed.error) == (JobStatus.RUNNING, None)
    assert (await claimed(store)).paused is False


async def test_a_job_that_waits_for_its_backend_is_tried_at_once_when_a_person_resumes_it(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    await outage(store, await claimed(store), Backoff(600.0, 600.0))
    assert await claim(store) is None
    asked = await let_go_on(store, job_id)
    assert (asked.status, asked.error) == (JobStatus.PAUSED, {"code": "backend_unavailable", "message": "away"})
    trying = await claimed(store)
    assert trying.paused
    assert await claim(store) is None
    await resume(store, trying)
    assert (await job(store, job_id)).status is JobStatus.RUNNING
