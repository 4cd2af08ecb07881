"""Measures how a crowd slows down other clients, and how fast workers claim tiny jobs; writes docs/load.md.

    python -m benchmarks.load
    python -m benchmarks.load --seconds 5 --jobs 100 --out /tmp/load.md

Starts an embedded Postgres, an API process and worker processes; takes a few minutes.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import psutil

from benchmarks.bystanders import KINDS, REQUESTS_A_SECOND, Latencies, crowd, heard, measure_others, milliseconds
from benchmarks.bystanders import percentile as share_of
from benchmarks.claims import HEAD as CLAIMS_HEAD
from benchmarks.claims import WORKERS, Claims, measure_claims
from benchmarks.ingest import CONFIG, api, encode, private_postgres, rows
from service.access.caller_store import CallerStore
from service.identifiers import JobId
from service.records.access import LOCAL_CALLER
from service.storage.engine import driver_address
from service.storage.store import PostgresStore

_PAGE = Path("docs/load.md")
_STREAMS, _UPLOADS, _DOWNLOADS = 200, 50, 50
_FOLLOWED = 4  # jobs
_EVENTS, _EVENT_BYTES = 3_000, 500  # of each, to begin with: more than a stalled socket holds
_ADD_EVENTS = """
    WITH counted AS (UPDATE jobs SET last_event = last_event + $2 WHERE id = $1 RETURNING last_event)
    INSERT INTO events (job_id, sequence, type, created_at, data)
    SELECT $1, last_event - $2 + number, 'note', now(), $3::json FROM counted, generate_series(1, $2::int) AS number
"""
_DOWNLOADED_ROWS = 50_000
_HEAD = (
    "| beside | requests | API's CPU (s) | p50 (ms) | p99 (ms) | max (ms) | p99 / alone "
    + "".join(f"| {kind} p99 (ms) " for kind in KINDS)
    + "|\n|---|---|---|---|---|---|---|"
    + "---|" * len(KINDS)
    + "\n"
)
_TEXT = """# Load

This page shows how a crowd of clients slows down others, and how fast workers claim jobs. `python -m benchmarks.load`
writes it. The run had {cores} cores, shared by API, Postgres, workers and all clients.{note}

## Latency under a crowd

*Others* request a job, the list of jobs, label states and a new job of four rows in turn, {rate} times a second,
without waiting for answers; latency counts from the time a request was due. *Streams*: {streams} clients follow
{followed} jobs, each with {events} events of {bytes} bytes and another one every second, and read nothing. *Uploads*:
{uploads} concurrent data sets of 200, 2,000 and 10,000 rows, a fifth of them in pieces over ten seconds; the API
answered {uploaded}. *Downloads*: {downloads} clients request a result of {downloaded:,} rows and read nothing.
Target: p99 below 250 ms beside streams and uploads.

{others}
## Connections to Postgres under stalled downloads

While the {downloads} downloads were stalled, {samples} samples of the server showed at most {most} of the pool's
connections in a transaction, and in the median {median}.

## Claims

Jobs of four rows, {workers} worker processes. The worker measures a claim from its request for a connection until it
has the shard. Target: each shard once (epoch 1), p99 below 50 ms.

{claims}"""


@dataclass
class Measured:
    """The figures of one run."""

    others: dict[str, Latencies] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)  # of the API process
    uploaded: str = ""
    in_transaction: list[int] = field(default_factory=list)
    claims: list[Claims] = field(default_factory=list)

    def page(self, note: str) -> str:
        """All of it, as a page."""
        return _TEXT.format(
            cores=os.cpu_count(),
            note=f" {note}" if note else "",
            rate=REQUESTS_A_SECOND,
            streams=_STREAMS,
            followed=_FOLLOWED,
            events=_EVENTS,
            bytes=_EVENT_BYTES,
            uploads=_UPLOADS,
            uploaded=self.uploaded,
            downloads=_DOWNLOADS,
            downloaded=_DOWNLOADED_ROWS,
            others=_HEAD + "".join(map(self._row, self.others)),
            samples=len(self.in_transaction),
            most=max(self.in_transaction),
            median=sorted(self.in_transaction)[len(self.in_transaction) // 2],
            workers=WORKERS,
            claims=CLAIMS_HEAD + "".join(found.row() for found in self.claims),
        )

    def _row(self, name: str) -> str:
        found, alone = self.others[name], next(iter(self.others.values()))
        ratio = share_of(found.all, 0.99) / share_of(alone.all, 0.99)
        by_kind = "".join(f"| {1000 * share_of(found.of(kind), 0.99):.0f} " for kind in KINDS)
        spent = f"{len(found.all)} | {self.cpu_seconds[name]:.1f}"
        return f"| {name} | {spent} | {milliseconds(found.all)} | {ratio:.1f} {by_kind}|\n"


class Scene:
    """A service under the load of several crowds."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        server: psutil.Process,
        database_url: str,
        store: PostgresStore,
        *,
        seconds: float,
    ) -> None:
        self._server = server
        self._client = client
        self._port = client.base_url.port or 0
        self._database_url = database_url
        self._desks = CallerStore(store, LOCAL_CALLER)
        self._seconds = seconds
        self.measured = Measured()

    async def play(self, jobs: int) -> Measured:
        """Measure without a crowd, then with several."""
        followed = [await self._job(4) for _ in range(_FOLLOWED)]
        await self._fill(followed)
        await measure_others(self._client, followed[0], 3)  # so that the process has loaded everything
        await self._measure("nobody", followed[0])
        async with self._streams(followed):
            await self._measure(f"{_STREAMS} streams as they come", followed[0])
            await self._measure(f"{_STREAMS} streams", followed[0])
            await self._measure_uploads(f"{_STREAMS} streams, {_UPLOADS} uploads", followed[0])
        await self._measure_downloads(f"{_DOWNLOADS} downloads", followed[0])
        self.measured.claims.append(await measure_claims(self._client, self._database_url, jobs))
        return self.measured

    async def _measure(self, name: str, job: str) -> None:
        began = self._cpu_seconds()
        self._keep(name, await measure_others(self._client, job, self._seconds), began)

    def _cpu_seconds(self) -> float:
        spent = self._server.cpu_times()
        return spent.user + spent.system

    def _keep(self, name: str, found: Latencies, began: float) -> None:
        self.measured.others[name] = found
        self.measured.cpu_seconds[name] = self._cpu_seconds() - began
        sys.stdout.write(f"{name}: {len(found.all)} requests; p50, p99, max {milliseconds(found.all)} ms\n")
        sys.stdout.flush()

    async def _measure_uploads(self, name: str, job: str) -> None:
        found, began = Latencies(), self._cpu_seconds()
        async with crowd(self._port, "--uploads", str(_UPLOADS)) as uploads:
            done = asyncio.create_task(heard(uploads, "done"))
            while not done.done():
                found.extend(await measure_others(self._client, job, 2))
            self.measured.uploaded = await done
        self._keep(name, found, began)

    async def _measure_downloads(self, name: str, job: str) -> None:
        long = await self._job(_DOWNLOADED_ROWS)
        (await self._client.post(f"/v1/jobs/{long}/cancel")).raise_for_status()
        async with crowd(self._port, "--stalled", str(_DOWNLOADS), "--downloads", long):
            looking = asyncio.create_task(self._look_for_transactions())
            await self._measure(name, job)
            looking.cancel()

    @asynccontextmanager
    async def _streams(self, jobs: Sequence[str]) -> AsyncIterator[None]:
        """Stalled streams, and an event of each job every second."""

        async def go_on() -> None:
            while True:
                await asyncio.sleep(1)
                await self._append(jobs, "news")

        async with crowd(self._port, "--stalled", str(_STREAMS), "--streams", *jobs):
            going_on = asyncio.create_task(go_on())
            try:
                yield
            finally:
                going_on.cancel()

    async def _job(self, count: int) -> str:
        files = {"dataset": ("rows.jsonl", encode(rows(count), "jsonl"))}
        answer = await self._client.post("/v1/jobs", files=files, data={"config": json.dumps(CONFIG)})
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def _fill(self, jobs: Sequence[str]) -> None:
        """Give each job a long log."""
        connection = await asyncpg.connect(driver_address(self._database_url))
        try:
            for job in jobs:
                await connection.execute(_ADD_EVENTS, job, _EVENTS, json.dumps({"text": "x" * _EVENT_BYTES}))
        finally:
            await connection.close()

    async def _append(self, jobs: Sequence[str], text: str) -> None:
        async with self._desks.project_unit() as desk:
            for job in jobs:
                await desk.events.append(JobId(job), "note", {"text": text})

    async def _look_for_transactions(self) -> None:
        """How many of the server's connections are in a transaction, ten times a second."""
        connection = await asyncpg.connect(driver_address(self._database_url))
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'icm' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        )
        try:
            while True:
                self.measured.in_transaction.append(await connection.fetchval(query))
                await asyncio.sleep(0.1)
        finally:
            await connection.close()


async def measure(base_url: str, server: psutil.Process, database_url: str, *, seconds: float, jobs: int) -> Measured:
    """Everything, one after the other."""
    store = PostgresStore(database_url)
    try:
        async with httpx.AsyncClient(
            base_url=base_url, timeout=240, limits=httpx.Limits(max_connections=200)
        ) as client:
            return await Scene(client, server, database_url, store, seconds=seconds).play(jobs)
    finally:
        await store.close()


def main() -> None:
    """Measure, print as it goes, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="that each measurement lasts")
    parser.add_argument("--jobs", type=int, default=500, help="tiny ones, of the last part")
    parser.add_argument("--note", default="", help="about the machine, for the page")
    parser.add_argument("--out", type=Path, default=_PAGE, help="where the page goes")
    arguments = parser.parse_args()
    with private_postgres() as database_url, api(database_url) as (client, server):
        measuring = measure(str(client.base_url), server, database_url, seconds=arguments.seconds, jobs=arguments.jobs)
        found = asyncio.run(measuring)
    arguments.out.write_text(found.page(arguments.note))


if __name__ == "__main__":
    main()
