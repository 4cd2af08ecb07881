import asyncio

import pytest

from service.errors import JobFinished, JobNotFound, WrongState
from service.identifiers import JobId
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.records.jobs import JobStatus
from service.records.work import WorkStatus
from tests.support.stored import (
    ALICE,
    BOB,
    NO_TIME,
    added,
    cancel,
    claim,
    claimed,
    event_types,
    events,
    finish,
    job,
    label_state,
    queued,
    release,
    renew,
    save,
    write,
)


async def test_later_shards_wait_for_the_anchor(store: Store) -> None:
    job_id = await queued(store, 2, 1, 1, anchor=True)
    anchor = await claimed(store)
    assert await claim(store) is None
    assert await finish(store, anchor) is JobStatus.RUNNING
    assert [(await claimed(store)).lease.number for _ in range(2)] == [1, 2]
    assert (await job(store, job_id)).status is JobStatus.RUNNING


async def test_the_last_success_ends_the_job(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    first, second = await claimed(store), await claimed(store)
    assert await finish(store, second) is JobStatus.RUNNING
    assert await finish(store, first) is JobStatus.SUCCEEDED
    done = await job(store, job_id)
    assert (done.status, done.error, done.progress.eta_seconds) == (JobStatus.SUCCEEDED, None, 0.0)
    assert done.finished_at is not None
    assert (await event_types(store, job_id))[-3:] == ["shard.finished", "shard.finished", "job.succeeded"]


async def test_two_last_successes_at_once_end_the_job_once(store: Store) -> None:
    job_id = await queued(store, *[1] * 6)
    shards = [await claimed(store) for _ in range(6)]
    statuses = await asyncio.gather(*(finish(store, shard) for shard in shards))
    assert sorted(statuses) == [JobStatus.RUNNING] * 5 + [JobStatus.SUCCEEDED]
    assert (await event_types(store, job_id)).count("job.succeeded") == 1


async def test_a_shards_summary_is_in_the_log(store: Store) -> None:
    job_id = await queued(store)
    shard = await claimed(store)
    async with store.worker_unit() as unit:
        await unit.work.finish(shard.lease, WorkStatus.SUCCEEDED, summary={"restarts": [-0.5, None]})
    finished = next(event for event in await events(store, job_id) if event.type == "shard.finished")
    assert finished.data == {"shard": 0, "status": "succeeded", "summary": {"restarts": [-0.5, None]}}


async def test_a_failed_shard_fails_the_job_and_stops_the_others(store: Store) -> None:
    job_id = await queued(store, 1, 1, 1)
    failing, running = await claimed(store), await claimed(store)
    error = {"code": "BackendRefused", "message": "no log-probabilities"}
    async with store.worker_unit() as unit:
        assert await unit.work.finish(failing.lease, WorkStatus.FAILED, error=error) is JobStatus.FAILED
    failed = await job(store, job_id)
    assert (failed.status, failed.error) == (JobStatus.FAILED, error)
    assert await claim(store) is None
    assert await renew(store, running) is True
    assert await finish(store, running, WorkStatus.CANCELLED) is JobStatus.FAILED


async def test_a_success_behind_a_failure_leaves_the_job_failed(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    failing, running = await claimed(store), await claimed(store)
    await finish(store, failing, WorkStatus.FAILED)
    await finish(store, running, WorkStatus.SUCCEEDED)
    assert (await job(store, job_id)).status is JobStatus.FAILED


async def test_a_queued_job_is_cancelled_at_once(store: Store) -> None:
    job_id = await queued(store, 2, 1, anchor=True)
    cancelled = await cancel(store, job_id)
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.finished_at is not None
    assert await claim(store) is None
    assert await event_types(store, job_id) == ["job.created", "job.cancel_requested", "job.cancelled"]


async def test_a_running_job_is_cancelled_when_its_last_worker_releases_its_shard(store: Store) -> None:
    job_id = await queued(store, 1, 1, 1)
    first, second = await claimed(store), await claimed(store)
    await cancel(store, job_id)
    asked = await job(store, job_id)
    assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)
    assert await claim(store) is None
    assert await renew(store, first) is True
    assert await finish(store, first, WorkStatus.CANCELLED) is JobStatus.RUNNING
    assert await finish(store, second, WorkStatus.CANCELLED) is JobStatus.CANCELLED


async def test_labels_found_before_a_cancellation_stay(store: Store) -> None:
    job_id = await queued(store)
    shard = await claimed(store)
    await write(store, shard, label_state(1, 1))
    await cancel(store, job_id)
    await finish(store, shard, WorkStatus.CANCELLED)
    async with store.worker_unit() as unit:
        assert await unit.labels.of_shard(job_id, 0) == {1: 1}


async def test_a_shard_released_after_a_cancellation_is_not_queued_again(store: Store) -> None:
    job_id = await queued(store)
    shard = await claimed(store)
    await cancel(store, job_id)
    await release(store, shard)
    assert (await job(store, job_id)).status is JobStatus.CANCELLED
    assert await claim(store) is None


async def test_a_job_whose_workers_died_is_cancelled_at_once(store: Store) -> None:
    job_id = await queued(store)
    await claimed(store, ALICE, NO_TIME)
    assert (await cancel(store, job_id)).status is JobStatus.CANCELLED


async def test_an_expired_shard_of_a_job_that_is_being_cancelled_ends_with_the_next_claim(store: Store) -> None:
    job_id = await queued(store)
    shard = await claimed(store, ALICE)
    await cancel(store, job_id)
    async with store.worker_unit() as unit:
        await unit.work.renew(shard.lease, NO_TIME)
    assert await claim(store, BOB) is None
    assert (await job(store, job_id)).status is JobStatus.CANCELLED


async def test_cancelling_again_gives_the_same_answer(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    shard = await claimed(store)
    assert await cancel(store, job_id) == await cancel(store, job_id)
    await finish(store, shard, WorkStatus.CANCELLED)
    assert await cancel(store, job_id) == await cancel(store, job_id)
    assert (await event_types(store, job_id)).count("job.cancel_requested") == 1


async def test_a_finished_job_cannot_be_cancelled(store: Store) -> None:
    job_id = await queued(store)
    await finish(store, await claimed(store))
    with pytest.raises(JobFinished):
        await cancel(store, job_id)


async def test_a_job_that_is_unknown_cannot_be_read_cancelled_or_removed(store: Store) -> None:
    unknown = JobId("job_unknown")
    async with store.project_unit(LOCAL_CALLER) as unit:
        for call in (unit.jobs.get, unit.jobs.request_cancel, unit.jobs.remove, unit.jobs.columns):
            with pytest.raises(JobNotFound, match="job_unknown"):
                await call(unknown)


async def test_only_a_finished_job_can_be_removed(store: Store) -> None:
    job_id = await queued(store)
    async with store.project_unit(LOCAL_CALLER) as unit:
        with pytest.raises(WrongState):
            await unit.jobs.remove(job_id)
    assert (await job(store, job_id)).status is JobStatus.QUEUED


async def test_removing_a_job_leaves_nothing_of_it(store: Store) -> None:
    job_id, other = await queued(store, gold=[b'"True"']), await queued(store)
    shard = await claimed(store)
    await write(store, shard, label_state(0))
    await save(store, shard)
    await finish(store, shard)
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.idempotency.claim("key", "0" * 64, job_id)
        await unit.jobs.remove(job_id)
    async with store.project_unit(LOCAL_CALLER) as unit:
        with pytest.raises(JobNotFound):
            await unit.jobs.get(job_id)
        assert await unit.events.after(job_id, 0, limit=10) == []
        assert [pair async for pair in unit.gold.pairs(job_id)] == []
        assert await unit.idempotency.claim("key", "1" * 64, other) is None
    async with store.worker_unit() as unit:
        assert await unit.rows.of(shard.dataset_id, 0) == []
        assert await unit.labels.of_shard(job_id, 0) == {}
    assert (await job(store, other)).status is JobStatus.QUEUED


async def test_a_failed_unit_of_work_is_rolled_back(store: Store) -> None:
    with pytest.raises(RuntimeError, match="half-way"):
        await add_and_fail(store)
    assert await claim(store) is None
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert await unit.jobs.page(limit=10, before=None, status=None) == []
        assert await unit.idempotency.claim("key", "0" * 64, JobId("job_other")) is None


async def add_and_fail(store: Store) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        job_id = await added(unit)
        await unit.idempotency.claim("key", "0" * 64, job_id)
        raise RuntimeError("half-way")
