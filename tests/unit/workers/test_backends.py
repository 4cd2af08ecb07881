"""A backend that becomes unavailable makes jobs wait; one that returns as a different one ends them."""

import asyncio
from collections.abc import Sequence

import pytest

from service.errors import BackendUnavailable
from service.identifiers import JobId
from service.records.access import LOCAL_CALLER
from service.records.jobs import JobStatus
from service.records.labels import LabelState
from service.records.scoring import BackendIdentity
from tests.support.running.workplace import Workplace
from tests.support.stored import cancel, event_types, events, queued
from workers.worker import Worker

RETRAINED = BackendIdentity("deterministic", (-0.5, -3.5))
RENAMED = BackendIdentity("another model", (-0.5, -1.5))


async def labels(workplace: Workplace, job_id: JobId) -> list[LabelState]:
    async with workplace.store.project_unit(LOCAL_CALLER) as unit:
        return [row.state async for row in unit.labels.result(job_id)]


async def undisturbed(*shard_rows: int) -> list[LabelState]:
    """The labels of a job on a backend that is always available."""
    calm = Workplace()
    job_id = await queued(calm.store, *shard_rows, anchor=True)
    while await calm.worker.work_once():
        pass
    return await labels(calm, job_id)


async def through_the_outage(workplace: Workplace, workers: Sequence[Worker], seconds: int) -> int:
    """Let all workers look for work in every second of an outage, and count the work items that they claimed."""
    tries = 0
    for _ in range(seconds):
        tries += sum(await asyncio.gather(*(worker.work_once() for worker in workers)))
        workplace.clock.advance(1.0)
    return tries


@pytest.mark.parametrize("call", [1, 9], ids=["before any answer", "behind the anchor"])
async def test_a_job_over_an_outage_of_ten_minutes_ends_with_the_same_labels(workplace: Workplace, call: int) -> None:
    expected = await undisturbed(6, 6, 6)
    job_id = await queued(workplace.store, 6, 6, 6, anchor=True)
    workers = [workplace.another_worker(name) for name in ("alice", "bob", "carol")]

    def goes_away() -> None:
        workplace.backend.failure = BackendUnavailable("connection refused")

    workplace.backend.at_call[call] = goes_away
    tries = await through_the_outage(workplace, workers, 600)
    paused = await workplace.job(job_id)
    assert (paused.status, paused.error) == (
        JobStatus.PAUSED,
        {"code": "backend_unavailable", "message": "connection refused"},
    )
    assert tries <= 3 + 5 + 600 / 60
    log = await event_types(workplace.store, job_id)
    workplace.backend.failure = None
    workplace.clock.advance(60.0)
    while any(await asyncio.gather(*(worker.work_once() for worker in workers))):
        pass
    ended = await workplace.job(job_id)
    assert (ended.status, ended.error, ended.progress.labeled) == (JobStatus.SUCCEEDED, None, 18)
    assert await labels(workplace, job_id) == expected
    types = await event_types(workplace.store, job_id)
    assert (types.count("job.paused"), types.count("job.resumed"), types.count("job.running")) == (1, 1, 1)
    assert types[len(log)] == "job.resumed"
    assert log.count("shard.started") <= 3
    assert log.count("shard.released") == 0


async def test_a_backend_that_names_a_time_is_not_called_before(workplace: Workplace) -> None:
    await queued(workplace.store)
    workplace.backend.failure = BackendUnavailable("overloaded", retry_after_seconds=45.0)
    await workplace.worker.work_once()
    workplace.clock.advance(44.0)
    assert await workplace.worker.work_once() is False
    workplace.clock.advance(2.0)
    assert await workplace.worker.work_once() is True


async def test_a_job_cancelled_during_an_outage_ends_and_keeps_what_it_has(workplace: Workplace) -> None:
    job_id = await queued(workplace.store, 6, 6)
    await workplace.worker.work_once()
    workplace.backend.failure = BackendUnavailable("away")
    await workplace.worker.work_once()
    assert (await cancel(workplace.store, job_id)).status is JobStatus.CANCELLED
    assert await workplace.worker.work_once() is False
    assert sum(state.label is not None for state in await labels(workplace, job_id)) == 6


@pytest.mark.parametrize("now", [RETRAINED, RENAMED], ids=["other weights", "other model"])
async def test_a_changed_backend_fails_the_job_before_the_first_prompt(
    workplace: Workplace, now: BackendIdentity
) -> None:
    job_id = await queued(workplace.store, 6, 6)
    await workplace.worker.work_once()
    calls = workplace.backend.calls
    workplace.backend.identity = now
    await workplace.worker.work_once()
    failed = await workplace.job(job_id)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "BackendChanged"
    assert "deterministic (log-probabilities after fixed prompts: -0.500, -1.500)" in failed.error["message"]
    assert f"now {now.fingerprint} (log-probabilities" in failed.error["message"]
    assert workplace.backend.calls == calls


@pytest.mark.parametrize("call", [1, 5])
async def test_answers_of_a_changed_backend_are_not_stored(workplace: Workplace, call: int) -> None:
    job_id = await queued(workplace.store, 12)
    before = list[object]()

    def becomes_another() -> None:
        before.append(contents(workplace))
        workplace.backend.identity = RENAMED

    workplace.backend.at_call[call] = becomes_another
    await workplace.worker.work_once()
    assert [contents(workplace)] == before
    assert (await workplace.job(job_id)).status is JobStatus.FAILED
    assert (await events(workplace.store, job_id))[-1].data["error"]["code"] == "BackendChanged"


def contents(workplace: Workplace) -> object:
    """Everything that is stored of answers, labels, checkpoints and cost."""
    state = workplace.store.state
    shards = [(record.checkpoint, record.progress) for record in state.shards.values()]
    return list(state.answers.items()), list(state.labels.items()), shards


async def test_a_paused_job_fails_if_its_backend_comes_back_changed(workplace: Workplace) -> None:
    job_id = await queued(workplace.store, 6, 6)
    await workplace.worker.work_once()
    workplace.backend.failure = BackendUnavailable("away")
    await workplace.worker.work_once()
    workplace.backend.failure, workplace.backend.identity = None, RENAMED
    workplace.clock.advance(60.0)
    await workplace.worker.work_once()
    assert (await workplace.job(job_id)).status is JobStatus.FAILED
    assert "job.resumed" not in await event_types(workplace.store, job_id)


async def test_a_job_on_another_backend_reuses_no_answers(workplace: Workplace) -> None:
    first = await queued(workplace.store, 6)
    await workplace.worker.work_once()
    workplace.backend.identity = RENAMED
    second = await queued(workplace.store, 6)
    await workplace.worker.work_once()
    one, other = (await workplace.job(first)).progress, (await workplace.job(second)).progress
    assert (one.prompts, one.tokens_sent) == (other.prompts, other.tokens_sent)
    assert one.prompts > 0
