import asyncio
from collections import Counter
from random import Random

from service.errors import JobFinished, JobNotFound, LeaseLost, WrongState
from service.identifiers import JobId, WorkerId
from service.records.access import LOCAL_CALLER
from service.records.jobs import Job, JobStatus, Progress
from service.records.work import WorkStatus
from service.storage.store import PostgresStore
from tests.support.stored import CONFIG, LONG, NO_TIME, claim, event_types, finish, job, label_state, queued

WORKERS = 8
PATIENCE_SECONDS = 100.0


async def test_many_workers_empty_the_queue_without_doing_anything_twice(postgres_store: PostgresStore) -> None:
    job_ids = [await queued(postgres_store, *[1] * 10) for _ in range(3)]
    done: Counter[tuple[JobId, int]] = Counter()

    async def work(worker: WorkerId) -> None:
        while (shard := await claim(postgres_store, worker)) is not None:
            assert shard.lease.epoch == 1
            await finish(postgres_store, shard)
            done[shard.lease.job_id, shard.lease.number] += 1

    await asyncio.wait_for(asyncio.gather(*(work(WorkerId(f"w{i}")) for i in range(WORKERS))), PATIENCE_SECONDS)
    assert done == {(job_id, shard): 1 for job_id in job_ids for shard in range(10)}
    for job_id in job_ids:
        assert (await job(postgres_store, job_id)).status is JobStatus.SUCCEEDED
        assert (await event_types(postgres_store, job_id)).count("job.succeeded") == 1


async def test_concurrent_workers_and_users_never_deadlock(postgres_store: PostgresStore) -> None:
    """Claims, saves, endings, lost leases, cancellations and removals at once: each gives way or gives an error
    that says why, and whatever remains in the end is whole."""
    job_ids = [await queued(postgres_store, *[1] * 5, anchor=number % 2 == 0) for number in range(12)]
    users = [meddle(postgres_store, job_ids, Random(seed)) for seed in range(2)]
    workers = [work_badly(postgres_store, WorkerId(f"w{i}"), Random(i)) for i in range(WORKERS - 2)]
    await asyncio.wait_for(asyncio.gather(*users, *workers), PATIENCE_SECONDS)
    async with postgres_store.project_unit(LOCAL_CALLER) as unit:
        remaining = await unit.jobs.page(limit=100, before=None, status=None)
    assert len(remaining) >= 6
    for found in remaining:
        assert isinstance(found, Job)
        await assert_whole(postgres_store, found)


async def work_badly(store: PostgresStore, worker: WorkerId, random: Random) -> None:
    """Claim a shard, and then do a random operation, often too late."""
    idle = 0
    while idle < 3:
        shard = await claim(store, worker, random.choice([LONG, LONG, NO_TIME]))
        idle = idle + 1 if shard is None else 0
        if shard is None:
            continue
        try:
            async with store.worker_unit() as unit:
                await unit.labels.write(shard.lease, [label_state(shard.lease.number)])
                await unit.shards.save(shard.lease, checkpoint=b"%d" % random.getrandbits(32), progress=Progress())
                await unit.events.append(shard.lease, "note", {})
            async with store.worker_unit() as unit:
                if random.random() < 0.3:
                    await unit.work.release(shard.lease, crashed=random.random() < 0.5)
                else:
                    endings = [*[WorkStatus.SUCCEEDED] * 6, WorkStatus.CANCELLED, WorkStatus.FAILED]
                    await unit.work.finish(shard.lease, random.choice(endings))
        except LeaseLost:
            continue


async def meddle(store: PostgresStore, job_ids: list[JobId], random: Random) -> None:
    """Cancel and remove jobs, whatever state they are in."""
    for _ in range(30):
        try:
            async with store.project_unit(LOCAL_CALLER) as unit:
                if random.random() < 0.4:
                    await unit.jobs.request_cancel(random.choice(job_ids))
                else:
                    await unit.jobs.remove(random.choice(job_ids[::2]))
        except (JobNotFound, JobFinished, WrongState):
            continue


async def assert_whole(store: PostgresStore, found: Job) -> None:
    """The job has ended, and its log has one final event and no gaps."""
    async with store.project_unit(LOCAL_CALLER) as unit:
        log = await unit.events.after(found.id, 0, limit=10_000)
        rows = [row async for row in unit.labels.result(found.id)]
    endings = [
        event.type for event in log if event.type in {f"job.{status}" for status in JobStatus if status.is_final}
    ]
    assert found.config == CONFIG
    assert endings == [f"job.{found.status}"]
    assert [event.sequence for event in log] == list(range(1, len(log) + 1))
    assert len(rows) == 5
