"""Work of several kinds in one queue: which worker gets it, and the states of jobs that do not label."""

import pytest

from service.errors import JobNotFound
from service.identifiers import DEFAULT_PROJECT, JobId, new_job_id
from service.lifecycle import JobState
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.records.jobs import JobStatus
from service.records.work import ClaimedWork, NewWork, WorkKind, WorkStatus
from service.storage.work_queue import queue_job
from tests.support.stored import ALICE, NO_TIME, cancel, claim_work, event_types, events, job, queued

LABEL, TRAIN = WorkKind.LABEL, WorkKind.TRAIN


async def training(store: Store, items: int = 1) -> JobId:
    """A job that trains, queued."""
    state = JobState(id=new_job_id(), name="reward", kind=TRAIN, status=JobStatus.QUEUED)
    work = [NewWork(number=number, payload={"stage": number}) for number in range(items)]
    async with store.worker_unit() as unit:
        connection = unit.labels._connection  # type: ignore[attr-defined]  # of the Postgres kind
        await queue_job(connection, DEFAULT_PROJECT, state, work, size={"stages": items})
    return state.id


async def got(store: Store, *kinds: WorkKind, lease_seconds: float = 60.0) -> ClaimedWork:
    found = await claim_work(store, *kinds, lease_seconds=lease_seconds)
    assert found is not None
    return found


async def test_a_worker_claims_no_work_of_another_kind(store: Store) -> None:
    await queued(store)
    trained = await training(store)
    assert (await got(store, TRAIN)).lease.job_id == trained
    assert await claim_work(store, TRAIN) is None
    async with store.worker_unit() as unit:
        assert await unit.work.claim((), ALICE, 60.0) is None


async def test_the_first_kind_that_has_work_is_served_though_another_waits_for_longer(store: Store) -> None:
    labelled, trained = await queued(store), await training(store)
    assert [(await got(store, TRAIN, LABEL)).lease.job_id for _ in range(2)] == [trained, labelled]


async def test_work_with_an_expired_lease_goes_only_to_a_worker_for_its_kind(store: Store) -> None:
    await training(store)
    first = await got(store, TRAIN, lease_seconds=NO_TIME)
    assert await claim_work(store, LABEL) is None
    again = await got(store, TRAIN)
    assert (again.lease.epoch, again.crashes, again.payload) == (first.lease.epoch + 1, 1, {"stage": 0})


async def test_work_of_another_kind_is_saved_and_ends_its_job_by_its_own_words(store: Store) -> None:
    job_id = await training(store, 2)
    for number in range(2):
        work = await got(store, TRAIN)
        async with store.worker_unit() as unit:
            await unit.work.save(work.lease, b"half")
        async with store.worker_unit() as unit:
            assert await unit.work.checkpoint(job_id, number) == b"half"
            status = await unit.work.finish(work.lease, WorkStatus.SUCCEEDED, summary={"loss": 0.5})
    assert status is JobStatus.SUCCEEDED
    one = ["training.started", "job.progress", "training.finished"]
    assert await event_types(store, job_id) == ["job.created", "job.running", *one, *one, "job.succeeded"]
    log = await events(store, job_id)
    assert log[0].data == {"stages": 2}
    assert log[2].data == {"training": 0, "epoch": 1, "worker_id": "alice", "stage": 0}
    assert log[4].data == {"training": 0, "status": "succeeded", "summary": {"loss": 0.5}}


async def test_the_end_of_the_first_item_of_another_kind_unblocks_nothing(store: Store) -> None:
    await training(store, 2)
    await queued(store, 1, 1, anchor=True)
    async with store.worker_unit() as unit:
        await unit.work.finish((await got(store, TRAIN)).lease, WorkStatus.SUCCEEDED)
    assert (await got(store, LABEL)).lease.number == 0
    assert await claim_work(store, LABEL) is None


async def test_a_list_of_labelling_jobs_has_no_trainings(store: Store) -> None:
    labelled, trained = await queued(store), await training(store)
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert [one.id for one in await unit.jobs.page(limit=9, before=None, status=None)] == [labelled]
    for asked in (job, cancel):
        with pytest.raises(JobNotFound):
            await asked(store, trained)
    assert (await got(store, TRAIN)).lease.job_id == trained  # nothing has come of it


async def test_each_kind_is_counted_by_itself(store: Store) -> None:
    await queued(store, 1, 1)
    await training(store)
    await got(store, TRAIN, lease_seconds=NO_TIME)
    await got(store, TRAIN)
    counted = await store.job_statistics()
    label, train = counted[LABEL], counted[TRAIN]
    assert (label.jobs[JobStatus.QUEUED], label.items[WorkStatus.QUEUED], label.crashes) == (1, 2, 0)
    assert (train.jobs[JobStatus.RUNNING], train.items[WorkStatus.RUNNING], train.crashes) == (1, 1, 1)
    assert label.oldest_queued_seconds > train.oldest_queued_seconds == 0.0
