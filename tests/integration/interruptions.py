"""Cancels, or pauses and resumes, jobs at moments drawn from a seed, while two worker processes label them."""

import asyncio
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import httpx

from service.identifiers import JobId
from service.records.jobs import Job, JobStatus
from service.settings import MemorySettings
from tests.support.running.claims import FOLDS, PAPER, config, rows
from tests.support.running.processes import Laboratory, until
from tests.support.running.whole import finished_job

AT_ONCE = 20
ENDLESS = {**PAPER, "draws_per_row": 1000}


@dataclass(frozen=True)
class Cancellation:
    """The end of a cancelled job."""

    job: Job
    saves: int  # before the request to cancel
    seconds: list[float]  # from the request to the end, by the database's clock; empty if the end came first


async def cancelled(lab: Laboratory, seed: int) -> Cancellation:
    """Cancel a job of several shards, or one that would take long, and check its partial result."""
    random = Random(seed)
    count, search = random.choice([(24, ENDLESS), (120, FOLDS)])
    job_id = await lab.submit(rows(count, seed), config(search))
    saves = random.randint(1, 8)
    await lab.under_way(job_id, saves=saves)
    await asyncio.sleep(random.uniform(0.0, 0.02))  # draws the moment; it waits for nothing
    answers = await all_at_once(lab, job_id, "cancel", AT_ONCE if seed % 10 == 0 else random.randint(1, 3))
    job = await lab.ended(job_id)
    if job.status is JobStatus.CANCELLED:
        assert {answer.status_code for answer in answers} == {202}
        await assert_what_it_has_can_be_downloaded(lab, job, count)
    else:  # its last shard was faster
        assert job.status is JobStatus.SUCCEEDED
        assert {answer.status_code for answer in answers} <= {202, 409}
    asked = await lab.events(job_id, "job.cancel_requested")
    [ended] = await lab.events(job_id, f"job.{job.status}")
    assert len(asked) <= 1
    return Cancellation(job, saves, [(ended.created_at - event.created_at).total_seconds() for event in asked])


async def assert_what_it_has_can_be_downloaded(lab: Laboratory, job: Job, count: int) -> None:
    """Check that the result has every row, and a label for as many as the job counts, and is marked as partial."""
    path = f"/v1/jobs/{job.id}/result"
    assert (await lab.client.get(path)).status_code == 409
    partial = await lab.client.get(path, params={"partial": "true"})
    assert (partial.status_code, len(partial.text.splitlines())) == (200, count)
    labelled = [row for row in await lab.result(job.id) if row.state.label is not None]
    assert len(labelled) == job.progress.labeled > 0


async def paused_and_resumed(lab: Laboratory, job_id: JobId, random: Random, *, times: int) -> int:
    """Pause and resume the job this many times while it runs; returns how often that came before its end."""
    pauses = 0
    for _ in range(times):
        seen = (await lab.events(job_id))[-1].sequence
        await lab.under_way(job_id, saves=random.randint(1, 4), after=seen)
        await asyncio.sleep(random.uniform(0.0, 0.02))  # draws the moment; it waits for nothing
        [answer] = await all_at_once(lab, job_id, "pause", 1)
        if answer.status_code == 409:
            break
        pauses += 1
        if random.random() < 0.7:  # otherwise it is resumed before its workers learn of the pause
            await let_go(lab, job_id)
        if (await all_at_once(lab, job_id, "resume", 1))[0].status_code == 409:
            break
    return pauses


async def let_go(lab: Laboratory, job_id: JobId) -> None:
    """Wait until no worker holds a shard of the paused job, or it has ended."""

    async def nobody_holds() -> bool:
        log = await lab.events(job_id, "shard.started", "shard.released", "shard.finished")
        held = sum(1 if event.type == "shard.started" else -1 for event in log)
        return held == 0 or (await lab.job(job_id)).status.is_final

    await until(nobody_holds)


async def all_at_once(lab: Laboratory, job_id: JobId, what: str, number: int) -> list[httpx.Response]:
    """Send the same request several times at once."""
    return await asyncio.gather(*(lab.client.post(f"/v1/jobs/{job_id}/{what}") for _ in range(number)))


async def undisturbed(lab: Laboratory, examples: list[dict[str, Any]], settings: dict[str, Any]) -> bytes:
    """The result's bytes without interruptions; no answer of it stays in memory."""
    forgetful = lab.application.settings.model_copy(update={"memory": MemorySettings(max_answers=0)})
    application = replace(lab.application, settings=forgetful)
    return await result(lab, JobId((await finished_job(lab.client, application, examples, settings))["id"]))


async def result(lab: Laboratory, job_id: JobId) -> bytes:
    """The downloaded result."""
    answer = await lab.client.get(f"/v1/jobs/{job_id}/result")
    assert answer.status_code == 200, answer.text
    return answer.content
