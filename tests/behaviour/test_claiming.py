import asyncio

import pytest

from service.errors import LeaseLost
from service.identifiers import JobId, WorkerId
from service.ports.store import Store
from service.records.jobs import JobStatus, Progress
from tests.support.stored import (
    ALICE,
    BOB,
    NO_TIME,
    claim,
    claimed,
    event_types,
    events,
    finish,
    job,
    queued,
    release,
    renew,
    save,
)


async def test_a_claimed_shard_comes_with_everything_its_worker_needs(store: Store) -> None:
    job_id = await queued(store, 2, 3)
    shard = await claimed(store)
    assert shard.lease.job_id == job_id
    assert (shard.lease.number, shard.lease.epoch, shard.lease.worker_id) == (0, 1, ALICE)
    assert (shard.shards, shard.rows, shard.checkpoint, shard.progress) == (2, 2, None, Progress(rows=2))
    assert shard.job_rows == 5
    assert shard.config.name == "sums"
    async with store.worker_unit() as unit:
        rows = await unit.rows.of(shard.dataset_id, 1)
    assert [(row.position, row.data) for row in rows] == [(i, b'{"sum":"%d"}' % i) for i in (2, 3, 4)]


async def test_many_workers_at_once_never_share_a_shard(store: Store) -> None:
    job_id = await queued(store, *[1] * 12)
    found = await asyncio.gather(*(claim(store, WorkerId(f"worker-{i}")) for i in range(16)))
    assert sorted(shard.lease.number for shard in found if shard is not None) == list(range(12))
    assert (await job(store, job_id)).status is JobStatus.RUNNING


async def test_the_oldest_job_comes_first_and_its_shards_in_order(store: Store) -> None:
    first, second = await queued(store, 1, 1), await queued(store, 1)
    order = [(shard.lease.job_id, shard.lease.number) for shard in [await claimed(store) for _ in range(3)]]
    assert order == [(first, 0), (first, 1), (second, 0)]


async def test_the_first_claim_starts_the_job(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    assert (await job(store, job_id)).started_at is None
    await claimed(store)
    started = (await job(store, job_id)).started_at
    await claimed(store)
    after = await job(store, job_id)
    assert started is not None
    assert (after.status, after.started_at) == (JobStatus.RUNNING, started)
    assert await event_types(store, job_id) == ["job.created", "job.running", "shard.started", "shard.started"]


async def test_a_shard_whose_lease_expired_resumes_from_its_checkpoint(store: Store) -> None:
    await queued(store)
    dead = await claimed(store, ALICE)
    await save(store, dead, b"half-way", labeled=1, iterations=4, tokens_sent=70, utility=-0.5)
    await release(store, dead)
    dead = await claimed(store, ALICE, NO_TIME)
    shard = await claimed(store, BOB)
    assert (shard.lease.epoch, shard.checkpoint) == (dead.lease.epoch + 1, b"half-way")
    assert shard.progress == Progress(rows=2, labeled=1, iterations=4, tokens_sent=70, utility=-0.5)


async def test_a_shard_whose_lease_expired_comes_before_new_ones(store: Store) -> None:
    await queued(store, 1, 1)
    await claimed(store, ALICE, NO_TIME)
    assert (await claimed(store, BOB)).lease.number == 0


async def test_a_renewed_lease_does_not_expire(store: Store) -> None:
    await queued(store)
    shard = await claimed(store, ALICE, NO_TIME)
    assert await renew(store, shard) is False
    assert await claim(store, BOB) is None


async def test_an_expired_lease_is_valid_until_another_worker_claims_the_shard(store: Store) -> None:
    await queued(store)
    late = await claimed(store, ALICE, NO_TIME)
    await save(store, late, b"just in time")
    await claimed(store, BOB)
    with pytest.raises(LeaseLost):
        await save(store, late, b"too late")


async def test_a_shard_released_with_a_delay_is_not_claimed_before(store: Store) -> None:
    await queued(store)
    await release(store, await claimed(store), delay_seconds=60.0)
    assert await claim(store) is None


async def test_a_worker_that_claims_a_shard_again_does_not_hold_its_earlier_lease(store: Store) -> None:
    await queued(store)
    before = await claimed(store, ALICE)
    await release(store, before)
    await claimed(store, ALICE)
    with pytest.raises(LeaseLost):
        await renew(store, before)


async def test_a_shard_that_crashes_workers_without_progress_fails_and_another_job_goes_on(store: Store) -> None:
    job_id, healthy = await queued(store, 1, 1), await queued(store)
    for _ in range(3):
        assert (await claimed(store, ALICE, NO_TIME)).lease.number == 0
    assert (await claimed(store, BOB)).lease.job_id == healthy
    failed = await job(store, job_id)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "worker_crashed"
    assert "shard 0" in failed.error["message"]
    assert failed.finished_at is not None
    assert (await events(store, job_id))[-1].data["error"] == failed.error


async def test_a_shard_that_advances_between_crashes_never_fails(store: Store) -> None:
    job_id = await queued(store)
    for number in range(8):
        shard = await claimed(store)
        await save(store, shard, b"step %d" % number)
        await release(store, shard, crashed=True)
    assert await finish(store, await claimed(store)) is JobStatus.SUCCEEDED
    assert (await job(store, job_id)).error is None


async def test_saving_the_same_again_is_no_progress(store: Store) -> None:
    job_id = await queued(store)
    for _ in range(4):
        shard = await claim(store)
        if shard is not None:
            await save(store, shard, b"stuck")
            await release(store, shard, crashed=True)
    assert (await job(store, job_id)).status is JobStatus.FAILED


async def test_the_checkpoint_of_any_shard_of_a_job_can_be_read_and_is_the_last_one_saved(store: Store) -> None:
    job_id, other = await queued(store, 1, 1), await queued(store, 1)
    first, second = await claimed(store), await claimed(store)
    assert await stored_checkpoint(store, job_id, 0) is None
    await save(store, first, b"begun")
    await save(store, first, b"further on")
    await save(store, second, b"second")
    await finish(store, second)
    assert await stored_checkpoint(store, job_id, 0) == b"further on"
    assert await stored_checkpoint(store, job_id, 1) == b"second"
    assert await stored_checkpoint(store, job_id, 2) is None
    assert await stored_checkpoint(store, other, 0) is None


async def stored_checkpoint(store: Store, job_id: JobId, shard: int) -> bytes | None:
    async with store.worker_unit() as unit:
        return await unit.work.checkpoint(job_id, shard)
