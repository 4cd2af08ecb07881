"""A job whose project has no tokens left today waits as if its backend were away, and reports which it is."""

import asyncio
from collections.abc import Sequence

import pytest

from service.access.issuing import limit_project
from service.errors import QuotaExhausted
from service.identifiers import DEFAULT_PROJECT, JobId
from service.jobs.running.allowance import NOTICE_SECONDS
from service.jobs.running.run import run_shard
from service.ports.store import Store
from service.records.jobs import JobStatus, PauseReason
from service.scoring.deterministic import DeterministicScorer
from tests.support.stored import (
    AT_ONCE,
    LONG,
    PATIENT,
    claim,
    claimed,
    event_types,
    events,
    job,
    outage,
    put_on_hold,
    queued,
    release,
    resume,
)


async def reasons(store: Store, job_id: JobId) -> Sequence[str]:
    """The resources that the job has waited for, by its log."""
    return [event.data["reason"] for event in await events(store, job_id) if event.type == "job.paused"]


async def run_out(store: Store, *, at_least_seconds: float = 0.0) -> None:
    """A worker finds that there are no tokens left."""
    shard = await claimed(store)
    async with store.worker_unit() as unit:
        await unit.work.pause(
            shard.lease,
            PauseReason.QUOTA_EXHAUSTED,
            "spent",
            tried=shard.paused,
            backoff=AT_ONCE,
            at_least_seconds=at_least_seconds,
        )


async def test_a_job_without_tokens_says_so_and_waits_until_its_time(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    await run_out(store, at_least_seconds=600.0)
    paused = await job(store, job_id)
    assert (paused.status, paused.error) == (JobStatus.PAUSED, {"code": "quota_exhausted", "message": "spent"})
    assert await claim(store) is None


async def test_a_failed_retry_adds_no_event_except_for_another_reason(store: Store) -> None:
    job_id = await queued(store)
    for _ in range(2):
        await run_out(store)
    assert await reasons(store, job_id) == ["quota_exhausted"]
    await outage(store, await claimed(store))
    await run_out(store)
    assert await reasons(store, job_id) == ["quota_exhausted", "backend_unavailable", "quota_exhausted"]
    assert (await job(store, job_id)).error == {"code": "quota_exhausted", "message": "spent"}


async def test_a_job_resumes_when_its_project_has_tokens_again(store: Store) -> None:
    job_id = await queued(store)
    await run_out(store)
    trying = await claimed(store)
    assert trying.paused
    await resume(store, trying)
    assert ((await job(store, job_id)).status, (await job(store, job_id)).error) == (JobStatus.RUNNING, None)
    assert (await event_types(store, job_id))[-2:] == ["job.resumed", "shard.started"]


async def test_a_job_that_a_person_paused_stays_paused(store: Store) -> None:
    job_id = await queued(store, 1)
    shard = await claimed(store)
    await put_on_hold(store, job_id)
    async with store.worker_unit() as unit:
        await unit.work.pause(
            shard.lease,
            PauseReason.QUOTA_EXHAUSTED,
            "spent",
            tried=False,
            backoff=PATIENT,
            at_least_seconds=0.0,
        )
    assert await reasons(store, job_id) == ["requested"]
    assert await claim(store) is None


async def test_a_search_saves_and_stops_when_the_quota_is_used_up(store: Store) -> None:
    job_id = await queued(store, 24)
    await limit_project(store, DEFAULT_PROJECT, {"tokens_per_day": 300})
    shard = await claimed(store)
    with pytest.raises(QuotaExhausted, match="goes on by itself") as caught:
        await run_shard(store, DeterministicScorer(), shard, checkpoint_seconds=LONG, stop=asyncio.Event())
    state = caught.value.state
    assert state is not None
    assert (state.quota, state.limit) == ("tokens_per_day", 300)
    assert 0 <= caught.value.retry_after_seconds <= NOTICE_SECONDS
    assert (await job(store, job_id)).progress.tokens_computed == state.used >= 300
    await release(store, shard)
    assert (await claimed(store)).checkpoint is not None
