"""Runs a plan's jobs while its faults are inflicted, and checks what was committed."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.identifiers import JobId
from tests.chaos import trace
from tests.chaos.inflict import LOOK_SECONDS, Inflicted, inflict, is_over
from tests.chaos.plan import JobPlan, Plan
from tests.chaos.report import Report
from tests.chaos.stage import Stage, stage
from tests.chaos.undisturbed import Undisturbed, result_bytes, undisturbed
from tests.support.running.processes import until

Say = Callable[[str], None]


@dataclass(frozen=True)
class Limits:
    """Limits of concurrency."""

    workers: int = 4
    abreast: int = 2  # jobs; fewer than workers, so that one is free to take over
    lease_seconds: float = 2.0


async def run(plan: Plan, limits: Limits, say: Say) -> Report:
    """Carry out the plan."""
    began = time.monotonic()
    expected = [await undisturbed(job.examples(number), job.config) for number, job in enumerate(plan.jobs)]
    say(f"{len(expected)} undisturbed jobs of {sum(found.steps for found in expected)} steps")
    async with stage(workers=limits.workers, lease_seconds=limits.lease_seconds) as ground:
        disturbed = _Disturbed(ground, plan, expected, say, asyncio.Semaphore(limits.abreast))
        done = await asyncio.gather(*(disturbed.job(number) for number in range(len(plan.jobs))))
        job_ids = [job_id for job_id, _ in done]
        commits = await trace.trace(await ground.observer.connection())
        violations = await _violations(ground, job_ids, expected, commits)
    inflicted = [one for _, those in done for one in those]
    seconds = time.monotonic() - began
    return Report(plan, limits.lease_seconds, limits.workers, inflicted, commits, violations, seconds)


@dataclass
class _Disturbed:
    """The running jobs of a plan, and its faults."""

    ground: Stage
    plan: Plan
    expected: Sequence[Undisturbed]
    say: Say
    turn: asyncio.Semaphore

    async def job(self, number: int) -> tuple[JobId, list[Inflicted]]:
        """Submit the job, inflict its faults one after the other, and wait for its end."""
        async with self.turn:
            job_id = await self._submit(number, self.plan.jobs[number])
            inflicted = []
            for fault in self.plan.of_job(number):
                await self._after(job_id, int(fault.after * self.expected[number].steps))
                met = await inflict(self.ground, fault, job_id)
                inflicted += [] if met is None else [met]
            await until(lambda: is_over(self.ground, job_id), pause_seconds=LOOK_SECONDS)
        planned = len(self.plan.of_job(number))
        self.say(f"job {number} ({self.plan.jobs[number].strategy}): {len(inflicted)} of {planned} faults, ended")
        return job_id, inflicted

    async def _submit(self, number: int, job: JobPlan) -> JobId:
        """Submit with an idempotency key, since the answer may get lost."""
        body, headers = {"config": job.config, "examples": job.examples(number)}, {"Idempotency-Key": f"job {number}"}
        created = await self.ground.lab.client.post("/v1/jobs", json=body, headers=headers)
        while created.status_code == 503:
            await asyncio.sleep(LOOK_SECONDS)
            created = await self.ground.lab.client.post("/v1/jobs", json=body, headers=headers)
        assert created.status_code == 202, created.text
        return JobId(created.json()["id"])

    async def _after(self, job_id: JobId, steps: int) -> None:
        """Wait until this many of the job's steps are committed, or it has ended."""
        query = "SELECT steps >= $2 FROM chaos.progress WHERE job_id = $1"

        async def far_enough() -> bool:
            found = await self.ground.observer.fetch(query, job_id, steps)
            return steps == 0 or bool(found and found[0][0]) or await is_over(self.ground, job_id)

        await until(far_enough, pause_seconds=LOOK_SECONDS)


async def _violations(
    ground: Stage, job_ids: Sequence[JobId], expected: Sequence[Undisturbed], commits: Sequence[trace.Commit]
) -> list[str]:
    """All violations of the promises."""
    steps = {
        (str(job_id), shard): checkpoints
        for job_id, one in zip(job_ids, expected, strict=True)
        for shard, checkpoints in one.checkpoints.items()
    }
    found = trace.violations(commits, steps)
    found += [f"worker {pid} ended by itself" for pid in ground.pool.vanished()]
    for number, (job_id, one) in enumerate(zip(job_ids, expected, strict=True)):
        job = await ground.lab.job(job_id)
        log = [(event.sequence, event.type, event.created_at) for event in await ground.lab.events(job_id)]
        found += trace.log_violations(job_id, log)
        if job.status != "succeeded":
            found.append(f"job {number} ({job_id}): {job.status}, {job.error}")
        elif await result_bytes(ground.lab.client, job_id) != one.result:
            found.append(f"job {number} ({job_id}): its result differs from the undisturbed one")
    return found
