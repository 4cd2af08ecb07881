"""Measures how much of a server's throughput the call executor uses; writes docs/throughput.md.

    python -m benchmarks.throughput
    python -m benchmarks.throughput --slots 8 --rounds 20

A server on loopback, in a separate process, handles `slots` calls at once and takes the same time for each. It
queues further calls, or refuses them with 429, with or without Retry-After. The executor has to find the number of
slots. Ideal are `slots / latency` calls a second.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.launching import served_by
from icm.local_stack.free_ports import free_port
from service.scoring.calls.concurrency_limit import START
from service.scoring.calls.executor import CallExecutor
from service.scoring.wires.http import JsonHttp

_PAGE = Path("docs/throughput.md")
_CONCURRENCY = 128  # the operator's limit: more than any of the servers has slots
_SETTLED_SHARE = 1 / 3  # of a run, after which it is held for settled
_CALLS_A_SECOND = 32  # by default at most, which costs a few hundredths of a core
_BODY = {"prompt": list(range(1000)), "max_tokens": 1}
_HEAD = (
    "| server above its slots | slots | latency (s) | calls | seconds | of ideal, whole run | of ideal, settled "
    "| lost (rounds) | refused | limit found |\n|---|---|---|---|---|---|---|---|---|---|\n"
)
_TEXT = """# Throughput of the call executor

This page shows how much of an inference server's throughput the service uses. `python -m benchmarks.throughput`
writes it. A server on loopback handles a fixed number of concurrent calls (slots) and takes the same time for each
(latency); the ideal is slots / latency answers a second. The server either queues further calls, or refuses them with
429, with or without `Retry-After: 1`. The operator's `concurrency` is {concurrency}; the executor has to find out the
number of slots (`service/scoring/calls/executor.py`, over `service/scoring/wires/http.py`).

{table}
- *Whole run*: ideal seconds / seconds from the first call on a cold start to the last answer.
- *Settled*: answers a second as a share of the ideal, after the first third of the run and while calls were still
  waiting.
- *Lost*: the time beyond the ideal run, in rounds of the server's latency. The executor starts with {start}
  concurrent calls and doubles them each round while throughput grows. On 64 slots the rounds with 4, 8, 16 and 32
  calls lose 3.1 rounds, whatever the length of the job. The figure includes the last round, with fewer calls than
  slots.
- *Refused*: answers 429; the executor retried each call.
- *Limit found*: the limit of concurrent calls at the end. A server that queues calls neither gains nor loses from a
  limit above its slots.

We chose latencies at which the machine does not limit the rate. It had two cores, shared with other work, and the
benchmark ran under `nice -n -10`. With a fixed latency all slots become free at once, so client and server work in
bursts; a call costs the client 2 to 3 ms of a core. Tests in simulated time cover how the executor finds the limit,
and servers that become slower, faster or overloaded: `tests/unit/scoring/test_concurrency.py`,
`tests/unit/scoring/test_executor.py`.
"""


@dataclass(frozen=True)
class Case:
    """A server: `refuses` calls above its slots, or lets them wait."""

    slots: int
    latency_seconds: float
    refuses: bool = False
    retry_after: bool = False

    @property
    def name(self) -> str:
        """For the table."""
        if not self.refuses:
            return "lets them wait"
        return "429, Retry-After: 1" if self.retry_after else "429"


@dataclass
class SlottedServer:
    """HTTP/1.1 with the least that is needed, so that the server costs little of the machine."""

    case: Case

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.case.slots)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                _, _, length = head.partition(b"content-length:")
                await reader.readexactly(int(length.split(b"\r\n")[0]) if length else 0)
                writer.write(await self._answer())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self) -> bytes:
        if self.case.refuses and self._free.locked():
            extra = b"Retry-After: 1\r\n" if self.case.retry_after else b""
            return b"HTTP/1.1 429 Too Many Requests\r\n" + extra + b"Content-Length: 2\r\n\r\n{}"
        async with self._free:
            await asyncio.sleep(self.case.latency_seconds)
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def serve_forever(case: Case, port: int) -> None:
    """Run the server in its process."""
    server = await asyncio.start_server(SlottedServer(case).serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


@contextmanager
def served(case: Case) -> Iterator[str]:
    """The server in a separate process; gives its URL. Raises ServerDidNotStart."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = ["--serve", str(port), "--slots", str(case.slots), "--latency", str(case.latency_seconds)]
    flags = ["--refuses"] * case.refuses + ["--retry-after"] * case.retry_after
    with served_by("benchmarks.throughput", *words, *flags, health=url):
        yield url


@dataclass
class Measured:
    """A run: when calls were answered, from its start on, and how many were refused."""

    case: Case
    calls: int
    answered_at: list[float] = field(default_factory=list)
    refused: int = 0
    limit: int = 0

    @property
    def seconds(self) -> float:
        """The whole run."""
        return self.answered_at[-1]

    @property
    def ideal_seconds(self) -> float:
        """The seconds of a run that always uses all slots."""
        return self.calls * self.case.latency_seconds / self.case.slots

    @property
    def settled_share(self) -> float:
        """Of the ideal rate, while calls were waiting and the start was over."""
        start, left = self.seconds * _SETTLED_SHARE, max(2 * self.case.slots, 8)
        end = self.answered_at[-left]
        rate = sum(start < moment <= end for moment in self.answered_at) / (end - start)
        return rate * self.case.latency_seconds / self.case.slots

    def row(self) -> str:
        """A line of the table."""
        return (
            f"| {self.case.name} | {self.case.slots} | {self.case.latency_seconds:g} "
            f"| {self.calls} | {self.seconds:.1f} "
            f"| {self.ideal_seconds / self.seconds:.3f} | {self.settled_share:.3f} "
            f"| {(self.seconds - self.ideal_seconds) / self.case.latency_seconds:.1f} "
            f"| {self.refused} | {self.limit} |\n"
        )


async def measure(case: Case, url: str, rounds: int) -> Measured:
    """Make `rounds` calls for each slot, all waiting from the start."""
    found = Measured(case, rounds * case.slots)
    executor = CallExecutor(concurrency=_CONCURRENCY)
    http = JsonHttp(url, timeout_seconds=120, connections=_CONCURRENCY)
    attempts = 0

    async def attempt() -> object:
        nonlocal attempts
        attempts += 1
        return await http.post("/v1/completions", _BODY)

    async def call() -> None:
        await executor.call(attempt)
        found.answered_at.append(time.perf_counter() - started)

    try:
        started = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(found.calls)))
    finally:
        await http.close()
    found.refused, found.limit = attempts - found.calls, executor.limit
    return found


def cases(slots: Sequence[int], latency_seconds: float | None) -> Iterator[Case]:
    """Every kind of server with every number of slots."""
    for refuses, retry_after in ((False, False), (True, False), (True, True)):
        for number in slots:
            yield Case(number, latency_seconds or max(1.0, number / _CALLS_A_SECOND), refuses, retry_after)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 8, 64], help="calls that the server takes at once")
    parser.add_argument("--latency", type=float, help="seconds that each takes; by default 1, or more")
    parser.add_argument("--rounds", type=int, default=100, help="calls for each slot")
    parser.add_argument("--out", type=Path, default=_PAGE, help="where the page goes")
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the server instead")
    parser.add_argument("--refuses", action="store_true", help="of the server: answer 429 above its slots")
    parser.add_argument("--retry-after", action="store_true", help="of the server: with Retry-After: 1")
    return parser.parse_args()


def main() -> None:
    """Measure every case, print as it goes, write the page."""
    arguments = read_arguments()
    if arguments.serve is not None:
        case = Case(arguments.slots[0], arguments.latency, arguments.refuses, arguments.retry_after)
        asyncio.run(serve_forever(case, arguments.serve))
    table = _HEAD
    sys.stdout.write(_HEAD)
    for case in cases(arguments.slots, arguments.latency):
        with served(case) as url:
            line = asyncio.run(measure(case, url, arguments.rounds)).row()
        sys.stdout.write(line)
        sys.stdout.flush()
        table += line
    arguments.out.write_text(_TEXT.format(start=START, concurrency=_CONCURRENCY, table=table))


if __name__ == "__main__":
    main()
