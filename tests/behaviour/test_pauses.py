"""A job whose backend is unavailable waits, and continues by itself."""

import asyncio
from datetime import UTC, datetime, timedelta

from service.identifiers import WorkerId
from service.ports.store import Store
from service.records.jobs import Backoff, ClaimedShard, JobStatus
from tests.support.stored import (
    ALICE,
    BOB,
    NO_TIME,
    cancel,
    claim,
    claimed,
    event_types,
    events,
    job,
    pause,
    queued,
    release,
    resume,
    save,
)
from tests.support.stores import ScratchStore, StoppedClock

NOW = Backoff(0.0, 0.0)


async def pause_for_no_time(store: Store, shard: ClaimedShard) -> None:
    """Pause a job such that the backend may be tried at once."""
    await pause(store, shard, backoff=NOW)


async def test_a_paused_job_says_why_and_when_it_is_tried_again(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    before = datetime.now(UTC)
    await pause(store, await claimed(store))
    paused = await job(store, job_id)
    assert paused.status is JobStatus.PAUSED
    assert paused.error == {"code": "backend_unavailable", "message": "away"}
    [event] = [event for event in await events(store, job_id) if event.type == "job.paused"]
    assert {key: event.data[key] for key in ("status", "reason", "message")} == {
        "status": "paused",
        "reason": "backend_unavailable",
        "message": "away",
    }
    assert datetime.fromisoformat(event.data["retry_at"]) >= before + timedelta(seconds=5.0)
    assert (await event_types(store, job_id))[-1] == "job.paused"


async def test_no_shard_of_a_paused_job_is_claimed_before_its_time_and_other_jobs_go_on(store: Store) -> None:
    await queued(store, 1, 1, 1)
    other = await queued(store)
    await pause(store, await claimed(store))
    assert (await claimed(store, BOB)).lease.job_id == other
    assert await claim(store, BOB) is None


async def test_one_worker_at_a_time_tries_whether_the_backend_is_back(store: Store) -> None:
    await queued(store, *[1] * 6)
    await pause_for_no_time(store, await claimed(store))
    found = await asyncio.gather(*(claim(store, WorkerId(f"worker-{i}")) for i in range(8)))
    [trying] = [shard for shard in found if shard is not None]
    assert trying.paused


async def test_a_job_whose_backend_is_back_resumes_with_all_of_its_shards(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    await pause_for_no_time(store, await claimed(store))
    trying = await claimed(store)
    assert await claim(store) is None
    await resume(store, trying)
    going_on = await job(store, job_id)
    assert (going_on.status, going_on.error) == (JobStatus.RUNNING, None)
    assert not (await claimed(store)).paused
    types = await event_types(store, job_id)
    assert types[2:] == ["shard.started", "job.paused", "job.resumed", "shard.started", "shard.started"]
    resumed = next(event for event in await events(store, job_id) if event.type == "job.resumed")
    assert resumed.data["status"] == "running"
    assert 0 <= resumed.data["paused_seconds"] < 60


async def test_an_expired_shard_of_a_paused_job_waits_like_the_others_but_can_be_cancelled(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    first = await claimed(store, BOB)
    await claimed(store, ALICE, NO_TIME)
    await pause(store, first)
    assert await claim(store) is None
    await cancel(store, job_id)
    assert (await job(store, job_id)).status is JobStatus.CANCELLED


async def waits(store: Store, clock: StoppedClock, tries: int) -> list[float]:
    """Pause a job, fail that many retries, and return the length of each wait, in steps of five seconds."""
    found, seconds = list[float](), 0.0
    await pause(store, await claimed(store))
    for _ in range(tries):
        while (shard := await claim(store)) is None:
            clock.advance(5.0)
            seconds += 5.0
        found.append(seconds)
        seconds = 0.0
        await pause(store, shard)
    return found


async def test_progress_makes_waits_short_again_but_a_recovery_alone_does_not() -> None:
    clock = StoppedClock()
    store = ScratchStore(now=clock.now)
    await queued(store)
    await waits(store, clock, 2)
    clock.advance(60.0)
    returned = await claimed(store)
    await resume(store, returned)
    await release(store, returned)
    assert await waits(store, clock, 1) == [40]
    clock.advance(60.0)
    returned = await claimed(store)
    await resume(store, returned)
    await save(store, returned)
    await release(store, returned)
    assert await waits(store, clock, 2) == [5, 10]
