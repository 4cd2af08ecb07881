"""The parts of a chaos run: a Postgres, an inference server, worker processes, and an observer."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from migrations.commands import upgrade
from tests.chaos import trace
from tests.chaos.postgres import CrashingPostgres, Observer, crashing_postgres
from tests.support.running.processes import Laboratory, Workers, gone, laboratory, worker_processes
from tests.support.running.scoring_server import Server, running_server

MAX_CRASHES = 5  # the default; a shard that reaches it without being poisoned was given up wrongly


@dataclass
class Pool:
    """A fixed number of worker processes."""

    workers: Workers
    size: int
    running: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)

    def fill(self) -> None:
        """Start the missing workers."""
        while len(self.running) < self.size:
            self.running.add(self.workers.start())

    async def kill(self, pid: int) -> None:
        """Kill the worker."""
        await self._end(pid, signal.SIGKILL)

    async def terminate(self, pid: int) -> None:
        """Ask the worker to end, and wait for its end."""
        await self._end(pid, signal.SIGTERM)

    def stop(self, pid: int) -> None:
        """Stop the worker with SIGSTOP."""
        self.running.discard(pid)
        self.stopped.add(pid)
        os.kill(pid, signal.SIGSTOP)

    def wake(self, pid: int) -> None:
        """Continue the worker."""
        os.kill(pid, signal.SIGCONT)
        self.stopped.discard(pid)
        self.running.add(pid)

    def vanished(self) -> list[int]:
        """Workers that ended by themselves."""
        return [pid for pid in (*self.running, *self.stopped) if not _lives(pid)]

    async def _end(self, pid: int, how: signal.Signals) -> None:
        self.running.discard(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        await gone(pid)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Stage:
    """A whole service on which faults are inflicted."""

    postgres: CrashingPostgres
    scorer: Server
    pool: Pool
    lab: Laboratory
    observer: Observer
    server_turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # Postgres crashes once at a time


@asynccontextmanager
async def stage(*, workers: int, lease_seconds: float) -> AsyncIterator[Stage]:
    """A service with this many workers on its own Postgres, which keeps the trace of commits."""
    with crashing_postgres() as postgres, running_server() as scorer:
        await upgrade(postgres.url)
        observer = Observer(postgres.address)
        await trace.install(await observer.connection())
        backends = json.dumps([{"kind": "deterministic"}, {"name": "served", **scorer.backend}])
        entry = "tests.chaos.worker_process"
        async with laboratory(postgres.url, backends) as lab:
            with worker_processes(
                postgres.url, lease_seconds=lease_seconds, backends=backends, max_crashes=MAX_CRASHES, module=entry
            ) as forked:
                pool = Pool(forked, workers)
                pool.fill()
                yield Stage(postgres, scorer, pool, lab, observer)
        await observer.close()
