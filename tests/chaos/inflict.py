"""Inflicts the faults of a plan on a service."""

import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from tests.chaos.plan import OF_WORKERS, SERVER_CRASHES, Fault, Kind
from tests.chaos.stage import Stage
from tests.chaos.trace import CLAIMED, SAVED, Commit
from tests.support.running.processes import until

LOOK_SECONDS = 0.03  # between two polls of a job's progress


@dataclass(frozen=True)
class Victim:
    """The worker and shard that a fault hits."""

    job_id: str
    shard: int
    epoch: int
    pid: int


@dataclass(frozen=True)
class Inflicted:
    """A fault that was inflicted."""

    fault: Fault
    victim: Victim  # the worker that was hit; for a fault of the whole service, the worker whose recovery is watched
    at: datetime
    over: datetime  # when the worker had ended, or Postgres accepted connections again

    @property
    def seconds(self) -> float:
        """The duration of the fault."""
        return (self.over - self.at).total_seconds()


def recovery_seconds(inflicted: Inflicted, commits: Sequence[Commit]) -> float | None:
    """From a fault to the next step of its shard, or to the shard's end; None if none was committed.

    What was under way at that moment doesn't count: after a worker's end another one must commit,
    after an outage it must be over.
    """
    victim = inflicted.victim
    for commit in _of_victim(victim, commits, inflicted.at):
        of_another = commit.epoch > victim.epoch
        counts = of_another if inflicted.fault.kind in OF_WORKERS else commit.at > inflicted.over
        if commit.what == "succeeded" or (commit.what == SAVED and counts):
            return (commit.at - inflicted.at).total_seconds()
    return None


def was_given_back(inflicted: Inflicted, commits: Sequence[Commit]) -> bool:
    """Whether a worker that was asked to end released or finished its shard, so that no crash was counted."""
    after = _of_victim(inflicted.victim, commits, inflicted.at)
    return next((commit.what for commit in after if commit.what != SAVED), None) not in {CLAIMED, None}


def _of_victim(victim: Victim, commits: Sequence[Commit], since: datetime) -> Iterator[Commit]:
    for commit in commits:
        if (commit.job_id, commit.shard) == (victim.job_id, victim.shard) and commit.at > since:
            yield commit


async def inflict(stage: Stage, fault: Fault, job_id: str) -> Inflicted | None:
    """Inflict a fault on a running shard and wait until the shard advances; None if the job has no running shard."""
    if fault.kind not in SERVER_CRASHES:
        return await _inflict(stage, fault, job_id)
    async with stage.server_turn:
        return await _inflict(stage, fault, job_id)


async def _inflict(stage: Stage, fault: Fault, job_id: str) -> Inflicted | None:
    victim = await _victim(stage, job_id, fault.choice)
    if victim is None:
        return None
    at = datetime.now(UTC)
    await _HOW[fault.kind](stage, victim, Random(fault.choice))
    over = datetime.now(UTC)
    stage.pool.fill()
    await _recovered(stage, victim, at)
    return Inflicted(fault, victim, at, over)


async def _victim(stage: Stage, job_id: str, choice: int) -> Victim | None:
    """Wait for a worker with a shard of the job; returns it."""
    found: list[Victim] = []

    async def at_work_or_over() -> bool:
        query = """SELECT number, epoch, worker_id FROM work_items WHERE job_id = $1 AND status = 'running'
            ORDER BY number"""
        rows = await stage.observer.fetch(query, job_id)
        held = [Victim(job_id, row["number"], row["epoch"], _pid(row["worker_id"])) for row in rows]
        found[:] = [victim for victim in held if victim.pid in stage.pool.running]
        return bool(found) or await is_over(stage, job_id)

    await until(at_work_or_over, pause_seconds=LOOK_SECONDS)
    return found[choice % len(found)] if found else None


async def is_over(stage: Stage, job_id: str) -> bool:
    """Whether the job has ended."""
    query = "SELECT status IN ('succeeded', 'failed', 'cancelled') FROM jobs WHERE id = $1"
    return bool((await stage.observer.fetch(query, job_id))[0][0])


async def _recovered(stage: Stage, victim: Victim, since: datetime) -> None:
    """Wait until the shard was saved again or has ended."""
    query = (
        "SELECT EXISTS (SELECT FROM chaos.commits WHERE job_id = $1 AND shard = $2 AND at > $3"
        " AND what NOT IN ('claimed', 'queued', 'stale'))"
    )

    async def went_on() -> bool:
        return bool((await stage.observer.fetch(query, victim.job_id, victim.shard, since))[0][0])

    await until(went_on, pause_seconds=LOOK_SECONDS)


def _pid(worker_id: str) -> int:
    """The process id in a worker's name, which is made of host, process and a random part."""
    return int(worker_id.split(":")[1])


async def _kill(stage: Stage, victim: Victim, _random: Random) -> None:
    await stage.pool.kill(victim.pid)


async def _stop(stage: Stage, victim: Victim, _random: Random) -> None:
    """Stop a worker until another one has claimed its shard."""
    stage.pool.stop(victim.pid)
    stage.pool.fill()
    query = "SELECT epoch > $3 OR status <> 'running' FROM work_items WHERE job_id = $1 AND number = $2"

    async def taken_over() -> bool:
        return bool((await stage.observer.fetch(query, victim.job_id, victim.shard, victim.epoch))[0][0])

    await until(taken_over, pause_seconds=LOOK_SECONDS)
    stage.pool.wake(victim.pid)


async def _terminate(stage: Stage, victim: Victim, _random: Random) -> None:
    await stage.pool.terminate(victim.pid)


async def _cut(stage: Stage, _victim: Victim, random: Random) -> None:
    sessions = await _sessions(stage)
    half = random.sample(sessions, (len(sessions) + 1) // 2)
    await stage.observer.fetch("SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS pid", half)


async def _kill_backend(stage: Stage, _victim: Victim, random: Random) -> None:
    os.kill(random.choice(await _sessions(stage)), signal.SIGKILL)
    await stage.observer.own_pid()  # wait until it accepts connections again


async def _kill_postmaster(stage: Stage, _victim: Victim, _random: Random) -> None:
    stage.postgres.end_abruptly(signal.SIGKILL)
    await stage.observer.own_pid()


async def _shut_down(stage: Stage, _victim: Victim, _random: Random) -> None:
    stage.postgres.end_abruptly(signal.SIGQUIT)
    await stage.observer.own_pid()


async def _kill_scorer(stage: Stage, _victim: Victim, _random: Random) -> None:
    stage.scorer.kill()
    stage.scorer.start()


async def _sessions(stage: Stage) -> list[int]:
    """The backend processes of all sessions but ours."""
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    return sorted(row["pid"] for row in await stage.observer.fetch(query))


_HOW: Mapping[Kind, Callable[[Stage, Victim, Random], Awaitable[None]]] = {
    Kind.KILL: _kill,
    Kind.STOP: _stop,
    Kind.TERM: _terminate,
    Kind.CUT: _cut,
    Kind.BACKEND: _kill_backend,
    Kind.POSTMASTER: _kill_postmaster,
    Kind.SHUTDOWN: _shut_down,
    Kind.SCORER: _kill_scorer,
}
