"""Measures how fast worker processes claim tiny jobs.

    DATABASE_URL=... python -m benchmarks.claims

is one such worker: it works until nothing is left to do, and prints the seconds of each claim, from the request for
a connection until it has the shard.
"""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from benchmarks.bystanders import milliseconds
from benchmarks.ingest import CONFIG, environment_on, rows
from service.bootstrap import build_application
from service.identifiers import WorkerId
from service.observability import configure_logging
from service.ports.store import WorkerUnit
from service.records.work import ClaimedWork, WorkKind
from service.settings import Settings
from service.storage.engine import driver_address
from service.storage.store import PostgresStore
from workers.worker import Worker

WORKERS = 4
HEAD = (
    "| jobs | succeeded | shards by epoch | claim p50 (ms) | p99 (ms) | max (ms) | jobs/s |\n"
    "|---|---|---|---|---|---|---|\n"
)
_POSTED_AT_ONCE = 8
_PATIENCE_SECONDS = 280.0


@dataclass(frozen=True)
class Claims:
    """The outcome of all jobs: statuses and epochs from the database, seconds from the workers."""

    jobs: int
    succeeded: int
    shards_by_epoch: dict[int, int]
    claim_seconds: list[float]
    elapsed_seconds: float

    def row(self) -> str:
        """A line of the table."""
        epochs = ", ".join(f"{number} x epoch {epoch}" for epoch, number in sorted(self.shards_by_epoch.items()))
        rate = self.jobs / self.elapsed_seconds
        return f"| {self.jobs} | {self.succeeded} | {epochs} | {milliseconds(self.claim_seconds)} | {rate:.1f} |\n"


async def measure_claims(client: httpx.AsyncClient, database_url: str, jobs: int) -> Claims:
    """Queue `jobs` jobs of four rows, then start the workers."""
    await _clear(database_url)
    turns = asyncio.Semaphore(_POSTED_AT_ONCE)

    async def post() -> None:
        async with turns:
            body = {"config": {**CONFIG, "name": "tiny"}, "examples": rows(4)}
            (await client.post("/v1/jobs", json=body)).raise_for_status()

    await asyncio.gather(*(post() for _ in range(jobs)))
    workers = await asyncio.gather(*(_work(database_url) for _ in range(WORKERS)))
    connection = await asyncpg.connect(driver_address(database_url))
    try:
        succeeded = await connection.fetchval("SELECT count(*) FROM jobs WHERE status = 'succeeded'")
        epochs = await connection.fetch("SELECT epoch, count(*) FROM work_items GROUP BY epoch")
    finally:
        await connection.close()
    return Claims(
        jobs=jobs,
        succeeded=succeeded,
        shards_by_epoch=dict(map(tuple, epochs)),
        claim_seconds=[second for worker in workers for second in worker["claims"]],
        elapsed_seconds=max(worker["ended"] for worker in workers) - min(worker["began"] for worker in workers),
    )


async def _clear(database_url: str) -> None:
    """Delete the jobs of earlier measurements."""
    connection = await asyncpg.connect(driver_address(database_url))
    try:
        await connection.execute("TRUNCATE jobs, datasets CASCADE")
    finally:
        await connection.close()


async def _work(database_url: str) -> dict[str, Any]:
    words, environment = ("-m", "benchmarks.claims"), environment_on(database_url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), _PATIENCE_SECONDS)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


class TimedStore(PostgresStore):
    """The store, which notes how long claims take."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        super().__init__(url, pool_size=pool_size)
        self.claim_seconds: list[float] = []

    @asynccontextmanager
    async def worker_unit(self) -> AsyncIterator[WorkerUnit]:
        """A unit of work for a worker."""
        asked = time.perf_counter()
        async with super().worker_unit() as unit:
            claim = unit.work.claim

            async def timed(kinds: Sequence[WorkKind], worker_id: WorkerId, lease_seconds: float) -> ClaimedWork | None:
                found = await claim(kinds, worker_id, lease_seconds)
                if found is not None:
                    self.claim_seconds.append(time.perf_counter() - asked)
                return found

            unit.work.claim = timed  # type: ignore[method-assign]  # the one call that is timed
            yield unit


async def work() -> dict[str, Any]:
    """Work until there is nothing left to do."""
    settings = Settings()
    configure_logging(settings.log_format, "WARNING")
    store = TimedStore(settings.database_url.get_secret_value(), pool_size=settings.database.pool_size)
    application = build_application(settings, store=store)
    worker = Worker(application, WorkerId(uuid.uuid4().hex))
    began = time.time()
    try:
        while await worker.work_once():
            pass
    finally:
        await application.close()
    return {"claims": store.claim_seconds, "began": began, "ended": time.time()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(work())))
