import asyncio
from datetime import datetime

import pytest

from service.bootstrap import Application
from service.errors import BackendRefused, LeaseLost, StorageUnavailable
from service.identifiers import JobId, WorkerId
from service.records.access import LOCAL_CALLER
from service.records.jobs import JobStatus
from service.records.labels import LabelStatus
from service.scoring.registry import ConfiguredScorers
from tests.support.running.processes import until
from tests.support.running.workplace import Workplace
from tests.support.stored import BOB, cancel, claim, event_types, events, queued
from workers.worker import Worker

PATIENCE_SECONDS = 30.0


async def test_a_worker_labels_queued_jobs_until_it_is_stopped(workplace: Workplace) -> None:
    job_ids = [await queued(workplace.store, 4) for _ in range(2)]
    running = asyncio.create_task(workplace.worker.run())
    await until(lambda: all_ended(workplace, job_ids))
    workplace.worker.stop()
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    for job_id in job_ids:
        ended = await workplace.job(job_id)
        assert (ended.status, ended.progress.labeled) == (JobStatus.SUCCEEDED, 4)


async def test_a_worker_finds_no_work_in_an_empty_queue(workplace: Workplace) -> None:
    assert await workplace.worker.work_once() is False


async def test_a_backend_that_refuses_fails_the_job_and_says_why(workplace: Workplace) -> None:
    job_id = await queued(workplace.store)
    workplace.backend.failure = BackendRefused("no log-probabilities")
    await workplace.worker.work_once()
    failed = await workplace.job(job_id)
    assert failed.status is JobStatus.FAILED
    assert failed.error == {"code": "BackendRefused", "message": "no log-probabilities"}
    async with workplace.store.project_unit(LOCAL_CALLER) as unit:
        states = [row.state async for row in unit.labels.result(job_id)]
    assert {state.status for state in states} == {LabelStatus.UNLABELED}


async def test_a_model_that_is_not_configured_fails_the_job(workplace: Workplace) -> None:
    job_id = await queued(workplace.store)
    wired = workplace.application
    worker = Worker(Application(wired.settings, workplace.store, ConfiguredScorers({})), WorkerId("worker"))
    await worker.work_once()
    error = (await workplace.job(job_id)).error
    assert error is not None
    assert error["code"] == "ModelNotFound"


async def test_an_unexpected_error_is_retried_a_few_times_and_then_fails_the_job(workplace: Workplace) -> None:
    job_id = await queued(workplace.store)
    workplace.backend.failure = ZeroDivisionError("a bug")
    while await workplace.worker.work_once():
        workplace.clock.advance(5.0)
    failed = await workplace.job(job_id)
    assert failed.error is not None
    assert failed.error["code"] == "worker_crashed"
    assert (await event_types(workplace.store, job_id)).count("shard.started") == 3


async def test_a_worker_that_lost_its_lease_drops_everything(workplace: Workplace) -> None:
    job_id = await queued(workplace.store)
    workplace.backend.answering.clear()
    working = asyncio.create_task(workplace.worker.work_once())
    await asyncio.wait_for(workplace.backend.asked.wait(), PATIENCE_SECONDS)
    workplace.clock.advance(10.0)
    assert await claim(workplace.store, BOB) is not None
    log = await events(workplace.store, job_id)
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(working, PATIENCE_SECONDS)
    assert await events(workplace.store, job_id) == log


async def test_a_lease_is_renewed_while_the_backend_takes_its_time(workplace: Workplace) -> None:
    job_id = await queued(workplace.store)
    workplace.backend.answering.clear()
    working = asyncio.create_task(workplace.worker.work_once())
    await asyncio.wait_for(workplace.backend.asked.wait(), PATIENCE_SECONDS)
    first = lease_until(workplace, job_id)
    await until(lambda: renewed_after(workplace, job_id, first))
    workplace.backend.answering.set()
    assert await asyncio.wait_for(working, PATIENCE_SECONDS)
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED


async def test_a_cancelled_job_ends_though_its_backend_does_not_answer(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.worker.GRACE_SECONDS", 0.05)
    job_id = await queued(workplace.store)
    workplace.backend.answering.clear()
    working = asyncio.create_task(workplace.worker.work_once())
    await asyncio.wait_for(workplace.backend.asked.wait(), PATIENCE_SECONDS)
    await cancel(workplace.store, job_id)
    assert await asyncio.wait_for(working, PATIENCE_SECONDS)
    assert (await workplace.job(job_id)).status is JobStatus.CANCELLED


async def test_a_stopped_worker_releases_its_shard_although_its_backend_does_not_answer(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.worker.GRACE_SECONDS", 0.05)
    job_id = await queued(workplace.store)
    workplace.backend.answering.clear()
    running = asyncio.create_task(workplace.worker.run())
    await asyncio.wait_for(workplace.backend.asked.wait(), PATIENCE_SECONDS)
    workplace.worker.stop()
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert (await events(workplace.store, job_id))[-1].data == {"shard": 0, "crashed": False}
    assert await claim(workplace.store, BOB) is not None


async def test_a_cancelled_worker_still_records_the_end_of_its_shard(workplace: Workplace) -> None:
    job_id = await queued(workplace.store)
    workplace.backend.answering.clear()
    running = asyncio.create_task(workplace.worker.run())
    await asyncio.wait_for(workplace.backend.asked.wait(), PATIENCE_SECONDS)
    running.cancel()
    workplace.backend.answering.set()
    await asyncio.wait({running}, timeout=PATIENCE_SECONDS)
    assert running.cancelled()
    assert (await event_types(workplace.store, job_id))[-1] in {"shard.released", "job.succeeded"}


async def test_a_worker_lives_through_an_outage_of_the_database(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.worker.STORAGE_DELAY_SECONDS", 0.01)
    job_id = await queued(workplace.store)
    outages = iter([StorageUnavailable("gone"), StorageUnavailable("still gone")])
    work_once = workplace.worker.work_once

    async def work_through_outages() -> bool:
        for outage in outages:
            raise outage
        return await work_once()

    monkeypatch.setattr(workplace.worker, "work_once", work_through_outages)
    running = asyncio.create_task(workplace.worker.run())
    await until(lambda: all_ended(workplace, [job_id]))
    workplace.worker.stop()
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED


async def all_ended(workplace: Workplace, job_ids: list[JobId]) -> bool:
    return all([(await workplace.job(job_id)).status.is_final for job_id in job_ids])


def lease_until(workplace: Workplace, job_id: JobId) -> datetime:
    shard = workplace.store.state.items[job_id, 0]
    assert shard.lease_until is not None
    return shard.lease_until


async def renewed_after(workplace: Workplace, job_id: JobId, moment: datetime) -> bool:
    return lease_until(workplace, job_id) > moment
