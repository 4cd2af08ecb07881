"""A job that a person has paused waits until a person resumes it, whatever else happens meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

from service.errors import JobFinished
from service.identifiers import JobId, WorkerId
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.records.jobs import Backoff, ClaimedShard, Job, JobStatus, ListedJob, SearchPace
from tests.support.stored import (
    BOB,
    ON_REQUEST,
    cancel,
    claim,
    claimed,
    event_types,
    events,
    job,
    label_state,
    let_go_on,
    outage,
    put_on_hold,
    queued,
    release,
    renew,
    save,
    seconds_of,
    set_pace,
    write,
)
from tests.support.stores import ScratchStore, StoppedClock

CONNECTIONS = 10  # of the store in Postgres; who waits for one on a busy machine is told to come again


async def test_a_queued_job_is_paused_and_resumed_in_the_queue(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    paused = await put_on_hold(store, job_id)
    assert (paused.status, paused.error, paused.started_at) == (JobStatus.PAUSED, ON_REQUEST, None)
    assert await claim(store) is None
    resumed = await let_go_on(store, job_id)
    assert (resumed.status, resumed.error) == (JobStatus.QUEUED, None)
    assert (await claimed(store)).paused is False
    log = await events(store, job_id)
    types = ["job.created", "job.paused", "job.resumed", "job.running", "shard.started"]
    assert [event.type for event in log] == types
    message = ON_REQUEST["message"]
    assert log[1].data == {"status": "paused", "reason": "requested", "message": message, "retry_at": None}
    assert log[2].data["status"] == "queued"
    assert 0 <= log[2].data["paused_seconds"] < 60


async def test_a_running_job_is_paused_at_once_and_its_workers_stop_with_the_next_heartbeat(
    store: Store,
) -> None:
    job_id = await queued(store, 1, 1, 1)
    first, second = await claimed(store), await claimed(store, BOB)
    assert await renew(store, first) is False
    assert (await put_on_hold(store, job_id)).status is JobStatus.PAUSED
    assert await claim(store) is None
    for shard in (first, second):
        assert await renew(store, shard) is True
        await write(store, shard, label_state(shard.lease.number))
        await save(store, shard)
        await release(store, shard)
    assert (await job(store, job_id)).status is JobStatus.PAUSED
    assert (await event_types(store, job_id))[-4:] == [
        "job.progress",
        "shard.released",
        "job.progress",
        "shard.released",
    ]


async def test_a_paused_job_that_nobody_holds_is_cancelled_at_once(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    await release(store, await claimed(store))
    await put_on_hold(store, job_id)
    cancelled = await cancel(store, job_id)
    assert (cancelled.status, cancelled.error) == (JobStatus.CANCELLED, None)
    assert await claim(store) is None


async def test_a_paused_job_is_cancelled_when_its_last_worker_releases_its_shard(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    shard = await claimed(store)
    await put_on_hold(store, job_id)
    assert (await cancel(store, job_id)).status is JobStatus.PAUSED
    assert await renew(store, shard) is True
    await release(store, shard)
    assert (await job(store, job_id)).status is JobStatus.CANCELLED
    assert (await event_types(store, job_id))[-4:] == [
        "job.paused",
        "job.cancel_requested",
        "shard.finished",
        "job.cancelled",
    ]


async def test_many_pauses_at_once_are_one_and_so_are_many_resumptions(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    await claimed(store)
    connections = asyncio.Semaphore(CONNECTIONS)

    async def connected(asked: Callable[[Store, JobId], Awaitable[ListedJob]]) -> ListedJob:
        async with connections:
            return await asked(store, job_id)

    paused = await asyncio.gather(*(connected(put_on_hold) for _ in range(20)))
    resumed = await asyncio.gather(*(connected(let_go_on) for _ in range(20)))
    assert {found.status for found in paused} == {JobStatus.PAUSED}
    assert {found.status for found in resumed} == {JobStatus.RUNNING}
    types = await event_types(store, job_id)
    assert (types.count("job.paused"), types.count("job.resumed")) == (1, 1)


async def test_pauses_and_cancellations_at_once_end_in_a_cancellation(store: Store) -> None:
    for _ in range(3):
        job_id = await queued(store, 1, 1)
        shard = await claimed(store)
        calls = [asked(store, job_id) for asked in (put_on_hold, cancel, let_go_on, put_on_hold)]
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(answer, Job | JobFinished)
        await release(store, shard)
        assert (await job(store, job_id)).status is JobStatus.CANCELLED
        assert await claim(store) is None


async def test_a_pause_while_workers_claim_stops_each_of_them(store: Store) -> None:
    """A worker that claims before the pause learns of it by heartbeat; none claims after it."""
    job_id = await queued(store, *[1] * 7)
    long_before = await claimed(store)
    found = await asyncio.gather(
        *(claim(store, WorkerId(f"before-{i}")) for i in range(3)),
        put_on_hold(store, job_id),
        *(claim(store, WorkerId(f"after-{i}")) for i in range(3)),
    )
    for shard in (long_before, *(shard for shard in found if isinstance(shard, ClaimedShard))):
        assert await renew(store, shard) is True
        await release(store, shard)
    assert await claim(store) is None
    assert (await job(store, job_id)).status is JobStatus.PAUSED


async def test_time_in_a_persons_pause_does_not_count_as_time_of_the_job() -> None:
    clock = StoppedClock()
    store = ScratchStore(now=clock.now)
    job_id = await queued(store)
    await put_on_hold(store, job_id)
    clock.advance(1000.0)  # before the beginning
    await let_go_on(store, job_id)
    shard = await claimed(store)
    clock.advance(3.0)
    await outage(store, shard, Backoff(9.0, 9.0))
    clock.advance(5.0)  # in an outage, then
    await put_on_hold(store, job_id)
    clock.advance(600.0)  # on request
    assert await seconds_of(store, job_id) == 3.0
    await let_go_on(store, job_id)
    clock.advance(4.0)
    assert await seconds_of(store, job_id) == 7.0
    resumed = [event.data["paused_seconds"] for event in await events(store, job_id) if event.type == "job.resumed"]
    assert resumed == [1000.0, 605.0]


async def test_a_paused_job_has_no_estimate_of_the_time_left(store: Store) -> None:
    job_id = await queued(store, 4)
    shard = await claimed(store)
    await save(store, shard, prompts=2)
    await set_pace(store, shard, SearchPace(prompts_left=9, prompts_per_query=1))
    assert (await job(store, job_id)).progress.eta_seconds is not None
    assert (await put_on_hold(store, job_id)).progress.eta_seconds is None


async def test_a_paused_job_is_in_flight_as_to_quotas(store: Store) -> None:
    await put_on_hold(store, await queued(store))
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert (await unit.account.usage()).jobs_in_flight == 1


async def test_waiting_workers_are_notified_when_a_job_is_resumed(store: Store) -> None:
    job_id = await queued(store)
    await put_on_hold(store, job_id)
    await store.wait_for_work(0.05)  # what was queued before
    waiting = asyncio.create_task(store.wait_for_work(60.0))
    await asyncio.sleep(0)
    await let_go_on(store, job_id)
    await asyncio.wait_for(waiting, 30.0)
