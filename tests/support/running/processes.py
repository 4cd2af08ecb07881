"""Real worker processes, and a service to give them work."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from typing import Any

import httpx

from service.bootstrap import Application
from service.identifiers import JobId
from service.records.access import LOCAL_CALLER
from service.records.jobs import Event, Job, JobStatus
from service.records.labels import LabeledRow
from service.scoring.kinds import backend_of
from service.settings import MemorySettings
from tests.support.forked import end, forked
from tests.support.running.whole import finished_job, whole_service

PATIENCE_SECONDS = 100.0


@dataclass
class Workers:
    """Worker processes by their ids."""

    module: str
    environment: Mapping[str, str]
    processes: list[ForkServerProcess] = field(default_factory=list)

    def start(self, **settings: str) -> int:
        """Start another worker, with these settings beside those of all; returns its process id."""
        process = forked(self.module, environment={**self.environment, **settings})
        self.processes.append(process)
        assert process.pid is not None
        return process.pid


@contextmanager
def worker_processes(
    database_url: str,
    *,
    lease_seconds: float,
    backends: str = '[{"kind": "deterministic"}]',
    max_crashes: int = 1000,
    module: str = "workers.__main__",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Workers]:
    """Start workers on the deterministic backend, or on another one; all of them end with the block.

    `module` has the `main` that they run; `settings` are further ones, by the names of the environment.
    """
    environment = {
        "ICM_DATABASE_URL": database_url,
        "ICM_BACKENDS": backends,
        "ICM_LOG_LEVEL": "WARNING",
        "ICM_QUEUE__LEASE_SECONDS": str(lease_seconds),
        "ICM_QUEUE__POLL_SECONDS": "0.1",
        "ICM_QUEUE__CHECKPOINT_SECONDS": "0",
        "ICM_QUEUE__MAX_CRASHES": str(max_crashes),
        "ICM_QUEUE__RETRY_SECONDS": "0.1",
        "ICM_QUEUE__MAX_RETRY_SECONDS": "0.2",
        **(settings or {}),
    }
    workers = Workers(module, environment)
    try:
        yield workers
    finally:
        for process in workers.processes:
            end(process)


@dataclass
class Laboratory:
    """A service without workers."""

    client: httpx.AsyncClient
    application: Application

    async def submit(self, rows: list[dict[str, Any]], config: dict[str, Any]) -> JobId:
        """Queue a job."""
        created = await self.client.post("/v1/jobs", json={"config": config, "examples": rows})
        assert created.status_code == 202, created.text
        return JobId(created.json()["id"])

    async def undisturbed(self, rows: list[dict[str, Any]], config: dict[str, Any]) -> list[LabeledRow]:
        """The result of a job that one worker runs without interruption; no answer of it stays in memory."""
        settings = self.application.settings.model_copy(update={"memory": MemorySettings(max_answers=0)})
        job = await finished_job(self.client, replace(self.application, settings=settings), rows, config)
        return await self.result(JobId(job["id"]))

    async def job(self, job_id: JobId) -> Job:
        """The job as it is now."""
        async with self.application.store.project_unit(LOCAL_CALLER) as unit:
            return await unit.jobs.get(job_id)

    async def result(self, job_id: JobId) -> list[LabeledRow]:
        """Every row with its label state."""
        async with self.application.store.project_unit(LOCAL_CALLER) as unit:
            return [row async for row in unit.labels.result(job_id)]

    async def events(self, job_id: JobId, *types: str, after: int = 0) -> list[Event]:
        """The job's events of these types (default: all)."""
        async with self.application.store.project_unit(LOCAL_CALLER) as unit:
            found = await unit.events.after(job_id, after, limit=100_000)
        return [event for event in found if not types or event.type in types]

    async def ended(self, job_id: JobId) -> Job:
        """Wait until the job has ended; returns it."""

        async def final() -> bool:
            return (await self.job(job_id)).status.is_final

        await until(final)
        return await self.job(job_id)

    async def paused(self, job_id: JobId) -> None:
        """Wait until the job is paused."""

        async def waits() -> bool:
            return (await self.job(job_id)).status is JobStatus.PAUSED

        await until(waits)

    async def under_way(self, job_id: JobId, saves: int = 1, after: int = 0) -> None:
        """Wait until the job was saved this many times more, or has ended."""

        async def saved() -> bool:
            progress = await self.events(job_id, "job.progress", after=after)
            return len(progress) >= saves or (await self.job(job_id)).status.is_final

        await until(saved)


@asynccontextmanager
async def laboratory(database_url: str, backends: str | None = None, **settings: Any) -> AsyncIterator[Laboratory]:
    """A service on this database, with the deterministic backend unless others are given, and further settings."""
    given = () if backends is None else tuple(backend_of(**backend) for backend in json.loads(backends))
    async with whole_service(database_url, *given, **settings) as (client, application):
        yield Laboratory(client, application)


def assert_no_item_was_written_by_two(log: Sequence[Event], noun: str = "shard") -> None:
    """The trace of commits, since a broken fence could still end with the right labels: epochs of an item only
    rise, and an item is finished once, after which it is not begun again."""
    epochs: Counter[int] = Counter()
    finished: set[int] = set()
    for event in log:
        item = event.data.get(noun, -1)
        if event.type == f"{noun}.started":
            assert event.data["epoch"] == epochs[item] + 1
            assert item not in finished
            epochs[item] += 1
        elif event.type == f"{noun}.finished":
            assert item not in finished
            finished.add(item)


async def until(condition: Callable[[], Awaitable[bool]], *, pause_seconds: float = 0.03) -> None:
    """Poll until the condition holds, so rarely that the polled processes get the processor."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, "waited for too long"
        await asyncio.sleep(pause_seconds)


async def gone(pid: int) -> None:
    """Wait until the process has ended."""

    async def has_ended() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    await until(has_ended, pause_seconds=0.01)


def kill(pid: int) -> None:
    """Kill the process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
