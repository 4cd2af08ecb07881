"""A simulated day of steady small jobs through API, worker and Postgres; prints a table for docs/reliability.md.

    python -m benchmarks.soak
    python -m benchmarks.soak --hours 2 --out /tmp/soak.md

A job every two simulated minutes, run as fast as they go, one after the other: 720 for a day. Between
two of them everything stored becomes two minutes older, so retention follows simulated time. After each job the
benchmark reads the processes' memory, file descriptors and connections, and after each quarter it counts the tables'
rows. It fits a line to each figure over the last three quarters of the run; the first quarter is warm-up.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import linear_regression

import asyncpg
import httpx
import psutil
from sqlalchemy import func, select

from benchmarks.ingest import CONFIG, api, environment_on, private_postgres, rows
from benchmarks.timelapse import let_pass
from service.storage.engine import driver_address
from service.storage.tables import metadata

_JOBS_AN_HOUR = 30
_ROWS = 16
_STEP = timedelta(hours=1) / _JOBS_AN_HOUR
# All is kept for less than a quarter of the day, so that tables may not grow from the first quarter on.
_RETENTION = {
    "ICM_RETENTION__JOBS_DAYS": "0.2",
    "ICM_RETENTION__EVENTS_DAYS": "0.1",
    "ICM_RETENTION__AUDIT_DAYS": "0.2",
    "ICM_RETENTION__USAGE_DAYS": "0.2",
    "ICM_RETENTION__EVERY_SECONDS": "0.5",
    "ICM_MEMORY__MAX_ANSWERS": "2000",
}
_WARM_SHARE = 0.25  # of the run
_MEGABYTE = 1_000_000
_PATIENCE_SECONDS = 60.0
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'icm'"
_ROWS_HEAD = "| rows of | after 1/4 | 1/2 | 3/4 | all |\n|---|---|---|---|---|\n"
_HEAD = "| | at the first quarter | at the end | growth by a fitted line | highest |\n|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Series:
    """One figure after each job, from the end of the first quarter on."""

    name: str
    values: Sequence[float]
    unit: float = 1.0

    @property
    def growth(self) -> float:
        """By how much the fitted line rises from its beginning to its end, as a share of its beginning."""
        numbers = range(len(self.values))
        slope, beginning = linear_regression(numbers, self.values)
        return slope * numbers[-1] / beginning

    def row(self) -> str:
        """A line of the table."""
        first, last, most = (
            f"{value / self.unit:.1f}" for value in (self.values[0], self.values[-1], max(self.values))
        )
        return f"| {self.name} | {first} | {last} | {self.growth:+.1%} | {most} |\n"


@dataclass(frozen=True)
class Process:
    """A process to watch, with the name of its role."""

    name: str
    process: psutil.Process

    def figures(self) -> dict[tuple[str, float], float]:
        """The resources that it holds now, by figure and unit."""
        with self.process.oneshot():
            return {
                (f"{self.name}: memory (MB)", _MEGABYTE): float(self.process.memory_info().rss),
                (f"{self.name}: file descriptors", 1.0): float(self.process.num_fds()),
                (f"{self.name}: threads", 1.0): float(self.process.num_threads()),
            }


@contextmanager
def worker(database_url: str) -> Iterator[psutil.Process]:
    """A worker process."""
    process = psutil.Popen([sys.executable, "-m", "workers"], env=environment_on(database_url))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


class Watch:
    """Records resources and row counts after each job."""

    def __init__(self, connection: asyncpg.Connection, processes: Sequence[Process]) -> None:
        self._connection = connection
        self._processes = processes
        self._seen: dict[tuple[str, float], list[float]] = {}
        self._rows: list[dict[str, int]] = []

    async def look(self) -> None:
        """Record the resources of the processes and the number of database connections."""
        connections = float(await self._connection.fetchval(_CONNECTIONS))
        figures = {("Postgres: connections", 1.0): connections}
        for process in self._processes:
            figures |= process.figures()
        for figure, value in figures.items():
            self._seen.setdefault(figure, []).append(value)

    async def count_rows(self) -> None:
        """Record the number of rows of every table."""
        counts = {}
        for table in metadata.sorted_tables:
            counts[table.name] = await self._connection.fetchval(str(select(func.count()).select_from(table)))
        self._rows.append(counts)

    def page(self) -> str:
        """Both tables."""
        figures = ""
        for (name, unit), values in self._seen.items():
            figures += Series(name, values[int(len(values) * _WARM_SHARE) :], unit).row()
        counts = "".join(
            f"| `{name}` | {' | '.join(str(counted[name]) for counted in self._rows)} |\n"
            for name in self._rows[-1]
            if self._rows[-1][name]
        )
        return f"{_HEAD}{figures}\n{_ROWS_HEAD}{counts}"


async def soak(client: httpx.AsyncClient, database_url: str, processes: Sequence[Process], jobs: int) -> str:
    """Run `jobs` jobs one after the other; returns the tables."""
    address = driver_address(database_url)
    connection = await asyncpg.connect(address)
    try:
        watch = Watch(connection, processes)
        for number in range(1, jobs + 1):
            await _one_job(client, number)
            await watch.look()
            await let_pass(connection, _STEP)
            if number in _quarters(jobs):
                await watch.count_rows()
                sys.stderr.write(f"{number} of {jobs} jobs\n")
        return watch.page()
    finally:
        await connection.close()


def _quarters(jobs: int) -> set[int]:
    return {jobs * quarter // 4 for quarter in range(1, 5)}


async def _one_job(client: httpx.AsyncClient, number: int) -> None:
    """Do as a user does: post new rows, follow the job, read everything."""
    examples = [{**row, "answer": f"{row['answer']}, not {number}"} for row in rows(_ROWS)]
    posted = await client.post("/v1/jobs", json={"config": CONFIG, "examples": examples})
    posted.raise_for_status()
    links = posted.json()["links"]
    async with asyncio.timeout(_PATIENCE_SECONDS), client.stream("GET", links["events"]) as events:
        async for _ in events.aiter_lines():
            pass  # the stream ends with the job
    for path in (links["self"], "/v1/jobs", links["labels"], links["result"], links["report"], "/metrics"):
        (await client.get(path)).raise_for_status()


async def measure(base_url: str, database_url: str, processes: Sequence[Process], jobs: int) -> str:
    """Run the soak with a new client."""
    async with httpx.AsyncClient(base_url=base_url, timeout=_PATIENCE_SECONDS) as client:
        return await soak(client, database_url, processes, jobs)


def main() -> None:
    """Soak, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0, help="simulated")
    parser.add_argument("--out", type=Path, help="a file for the tables, beside the standard output")
    arguments = parser.parse_args()
    jobs = max(8, int(arguments.hours * _JOBS_AN_HOUR))
    os.environ.update(_RETENTION)  # which API and worker are started with
    began = time.monotonic()
    with private_postgres() as database_url, api(database_url) as (client, server), worker(database_url) as labelling:
        processes = (Process("API", server), Process("worker", labelling))
        page = asyncio.run(measure(str(client.base_url), database_url, processes, jobs))
    minutes = (time.monotonic() - began) / 60
    kept = ", ".join(f"`{name.removeprefix('ICM_')}={value}`" for name, value in _RETENTION.items())
    page = (
        f"{jobs} jobs of {_ROWS} rows ({arguments.hours:g} simulated hours) in {minutes:.1f} minutes; {kept}.\n\n{page}"
    )
    sys.stdout.write(page)
    if arguments.out is not None:
        arguments.out.write_text(page)


if __name__ == "__main__":
    main()
