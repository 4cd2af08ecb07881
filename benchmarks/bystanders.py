"""Measures how a crowd slows down other clients of a server: the latencies of steady small requests."""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx

from benchmarks.ingest import CONFIG, rows

REQUESTS_A_SECOND = 20
KINDS = ("job", "list", "labels", "new job")
_PATIENCE_SECONDS = 240.0
_MILLISECONDS = 1000


class Latencies:
    """Seconds by kind of request."""

    def __init__(self) -> None:
        self.by_kind: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, kind: str, seconds: float) -> None:
        """Add a latency."""
        self.by_kind[kind].append(seconds)

    def extend(self, others: "Latencies") -> None:
        """Add all latencies of the other."""
        for kind, seconds in others.by_kind.items():
            self.by_kind[kind] += seconds

    def of(self, kind: str) -> list[float]:
        """The latencies of one kind of request."""
        return self.by_kind[kind]

    @property
    def all(self) -> list[float]:
        """The latencies of every kind."""
        return [second for seconds in self.by_kind.values() for second in seconds]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(values: Sequence[float]) -> str:
    """p50, p99 and maximum as cells of a table."""
    return " | ".join(f"{_MILLISECONDS * percentile(values, share):.0f}" for share in (0.5, 0.99, 1.0))


async def measure_others(client: httpx.AsyncClient, job_id: str, seconds: float) -> Latencies:
    """Send requests at a steady rate; a latency runs from the time at which its request was due."""
    found = Latencies()
    job = f"/v1/jobs/{job_id}"
    tiny = {"config": {**CONFIG, "name": "tiny"}, "examples": rows(4)}
    addresses = dict(zip(KINDS, (job, "/v1/jobs", job + "/labels", None), strict=True))
    began = time.perf_counter()

    async def ask(number: int) -> None:
        due = number / REQUESTS_A_SECOND
        await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
        kind = KINDS[number % len(KINDS)]
        path = addresses[kind]
        answer = await (client.post("/v1/jobs", json=tiny) if path is None else client.get(path))
        found.add(kind, time.perf_counter() - began - due)
        answer.raise_for_status()

    await asyncio.gather(*(ask(number) for number in range(int(seconds * REQUESTS_A_SECOND))))
    return found


@asynccontextmanager
async def crowd(port: int, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A connected crowd (`benchmarks.crowd`); it leaves at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.crowd", str(port), *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await heard(process, "there")
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.communicate()


async def heard(process: asyncio.subprocess.Process, word: str) -> str:
    """The rest of the crowd's next line, which must begin with this word. Raises SystemExit."""
    if process.stdout is None:
        raise SystemExit("the crowd cannot be heard")
    line = (await asyncio.wait_for(process.stdout.readline(), _PATIENCE_SECONDS)).decode()
    if not line.startswith(word):
        raise SystemExit(f"the crowd said {line!r}")
    return line.removeprefix(word).strip()
