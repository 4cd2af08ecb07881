"""Both stores count the jobs of all projects, and remember the request that made each."""

from service.access.issuing import create_key
from service.identifiers import ProjectName
from service.ports.store import Store
from service.records.access import LOCAL_CALLER, Caller, Scope
from service.records.jobs import JobStatus
from service.records.observations import JobStatistics
from service.records.work import Origin, WorkKind, WorkStatus
from tests.support.stored import (
    ALICE,
    LONG,
    NO_TIME,
    added,
    cancel,
    claim,
    claim_work,
    claimed,
    finish,
    pause,
    queued,
    release,
)

FROM = Origin(request_id="r-1", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


async def counted(store: Store) -> JobStatistics:
    """What is counted of jobs that label."""
    return (await store.job_statistics())[WorkKind.LABEL]


async def test_a_store_without_jobs_counts_none_of_any_status(store: Store) -> None:
    job_statistics = await counted(store)
    assert job_statistics.jobs == dict.fromkeys(JobStatus, 0)
    assert job_statistics.items == dict.fromkeys(WorkStatus, 0)
    assert (job_statistics.oldest_queued_seconds, job_statistics.crashes) == (0.0, 0)


async def test_jobs_of_all_projects_are_counted_and_shards_of_those_that_have_not_ended(store: Store) -> None:
    await queued(store, 2, 2, 2, anchor=True)
    await create_key(store, project="birds", name="test", scopes=[Scope.ADMIN], lifetime=None)  # makes the project
    async with store.project_unit(Caller(project=ProjectName("birds"))) as unit:
        await added(unit, 1)
    await cancel(store, await queued(store, 5, 5))
    running = await claimed(store)
    job_statistics = await counted(store)
    assert job_statistics.jobs == {
        **dict.fromkeys(JobStatus, 0),
        JobStatus.RUNNING: 1,
        JobStatus.QUEUED: 1,
        JobStatus.CANCELLED: 1,
    }
    assert job_statistics.items == {
        **dict.fromkeys(WorkStatus, 0),
        WorkStatus.RUNNING: 1,
        WorkStatus.BLOCKED: 2,
        WorkStatus.QUEUED: 1,
    }
    await finish(store, running)
    assert (await counted(store)).items[WorkStatus.QUEUED] == 3


async def test_the_oldest_shard_that_can_be_claimed_says_how_long_work_waits(store: Store) -> None:
    await queued(store)
    waited = (await counted(store)).oldest_queued_seconds
    assert waited > 0.0
    assert (await counted(store)).oldest_queued_seconds >= waited
    await claimed(store)
    assert (await counted(store)).oldest_queued_seconds == 0.0


async def test_shards_that_nobody_may_claim_do_not_wait(store: Store) -> None:
    await queued(store)
    await release(store, await claimed(store), delay_seconds=LONG)
    assert (await counted(store)).oldest_queued_seconds == 0.0
    await queued(store)
    await pause(store, await claimed(store))
    assert (await counted(store)).oldest_queued_seconds == 0.0
    assert (await counted(store)).jobs[JobStatus.PAUSED] == 1


async def test_crashes_are_counted_until_the_job_has_ended(store: Store) -> None:
    await queued(store)
    await claim(store, ALICE, NO_TIME)
    again = await claimed(store)
    assert (await counted(store)).crashes == 1
    await finish(store, again)
    assert (await counted(store)).crashes == 0


async def test_a_claimed_item_names_the_request_that_created_its_job(store: Store) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        job_id = await added(unit, origin=FROM)
    work = await claim_work(store)
    assert work is not None
    assert work.origin == FROM
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert (await unit.jobs.get(job_id)).origin == FROM


async def test_a_job_with_an_unknown_request_is_worked_on_too(store: Store) -> None:
    await queued(store)
    work = await claim_work(store)
    assert work is not None
    assert work.origin == Origin()
