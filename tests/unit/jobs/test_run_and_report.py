"""A shard's run to its end or until it is stopped, and the report on the job before and after."""

import asyncio

import pytest

from service.access.caller_store import CallerStore
from service.errors import JobNotFound
from service.identifiers import WorkerId, new_job_id
from service.jobs.reporting.report import report
from service.jobs.running.run import run_shard
from service.jobs.submission.submit import submit
from service.ports.store import ProjectStore
from service.records.access import LOCAL_CALLER
from service.records.jobs import Job, JobStatus
from service.records.labels import LabelStatus
from service.records.work import WorkKind, WorkOutcome
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from tests.support.memory import MemoryStore
from tests.support.sources import config, source

ROWS = [{"q": f"claim {number}", "gold": number % 2 == 0} for number in range(6)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def project_store(store: MemoryStore) -> ProjectStore:
    return CallerStore(store, LOCAL_CALLER)


@pytest.fixture
async def job(project_store: ProjectStore) -> Job:
    """A queued job of six rows with gold labels."""
    scorers = ConfiguredScorers({"default": DeterministicScorer()})
    chosen = config(gold_field="gold")
    receipt = await submit(chosen, source(*ROWS), project_store, scorers, idempotency_key=None)
    return receipt.job


async def run(store: MemoryStore, *, stopped: bool = False) -> WorkOutcome:
    """One run of the shard by a worker; `stopped`: it is asked to stop before it begins."""
    async with store.worker_unit() as unit:
        work = await unit.work.claim((WorkKind.LABEL,), WorkerId("worker"), 60.0)
        assert work is not None
        claimed = await unit.shards.of(work)
    stop = asyncio.Event()
    if stopped:
        stop.set()
    return await run_shard(store, DeterministicScorer(), claimed, checkpoint_seconds=60.0, stop=stop)


async def test_a_run_to_its_end_labels_every_row(store: MemoryStore, project_store: ProjectStore, job: Job) -> None:
    assert await run(store) is WorkOutcome.SUCCEEDED
    found = await report(project_store, job.id)
    assert (found.job.status, found.job.progress.labeled) == (JobStatus.SUCCEEDED, 6)
    assert found.statuses[LabelStatus.UNLABELED] == 0
    assert sum(share.rows for share in found.labels) == 6


async def test_a_stopped_run_says_so_and_ends_no_shard(
    store: MemoryStore, project_store: ProjectStore, job: Job
) -> None:
    assert await run(store, stopped=True) is WorkOutcome.STOPPED
    assert (await report(project_store, job.id)).job.status is JobStatus.RUNNING


async def test_the_cost_is_what_the_shards_have_spent(
    store: MemoryStore, project_store: ProjectStore, job: Job
) -> None:
    untouched = (await report(project_store, job.id)).cost
    assert (untouched.prompts, untouched.tokens_computed, untouched.seconds) == (0, 0, None)
    await run(store)
    spent = (await report(project_store, job.id)).cost
    assert spent.prompts > 0
    assert spent.tokens_sent > spent.tokens_computed > 0
    assert spent.tokens_computed_per_row == spent.tokens_computed / 6


async def test_gold_is_compared_with_labels_that_were_found_without_it(
    store: MemoryStore, project_store: ProjectStore, job: Job
) -> None:
    await run(store)
    found = await report(project_store, job.id)
    async with project_store.project_unit() as unit:
        pairs = [(state.label, gold) async for state, gold in unit.gold.pairs(job.id)]
    right = sum((label == 0) == (gold == "True") for label, gold in pairs)
    assert (found.gold.rows, found.gold.agreeing, found.gold.accuracy) == (6, right, right / 6)


async def test_an_unknown_job_has_no_report(project_store: ProjectStore) -> None:
    with pytest.raises(JobNotFound):
        await report(project_store, new_job_id())
