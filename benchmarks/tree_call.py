"""Compares one call for a whole prompt tree with one call for each prompt: bytes on the wire, tokens, seconds.

    python -m benchmarks.tree_call --rows larger_than.jsonl --text statement

Scores the leave-one-out tree of the rows through the scoring backends `tgi` and
`embedded`, against one embedded server in a process of its own. The runs alternate, and each
begins its prompts with a line of its own, so that none finds another's tokens in the prefix
cache. Bytes are counted in a run through a relay that is not timed; seconds are the median of
the others. Prints a table in Markdown.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import median

import httpx

from benchmarks.launching import served_by
from benchmarks.prefix_sharing import problem_of
from icm.local_stack.free_ports import free_port
from inference.settings import SMALL_MODEL
from service.identifiers import Label, Row
from service.ports.scoring import Scorer
from service.scoring.calls.executor import CallExecutor
from service.scoring.embedded import EmbeddedScorer
from service.scoring.prompts import PromptScorer
from service.scoring.wires.tgi import TgiWire
from service.search.predictions.prompt_tree import LogProbabilities, TreeScores, Usage
from service.search.prompting.planner import leave_one_out
from service.search.state.problem import Problem

KINDS = ("tgi", "embedded")
_HEAD = (
    "| rows | kind | bytes sent | bytes received | tokens sent | tokens computed | seconds | difference (nats) |\n"
    "|---|---|---|---|---|---|---|---|\n"
)
_TIMEOUT_SECONDS = 120.0
_CONCURRENCY = 64
_CHUNK_BYTES = 1 << 16
_FIRST_LINE = 100  # three digits throughout, so that all runs have as many tokens


Scores = Mapping[Row, LogProbabilities]


@dataclass(slots=True)
class Wire:
    """Bytes that went through a relay, HTTP's own included."""

    sent: int = 0
    received: int = 0

    def add_sent(self, count: int) -> None:
        """Bytes on their way to the server."""
        self.sent += count

    def add_received(self, count: int) -> None:
        """Bytes on their way back."""
        self.received += count


@dataclass(slots=True)
class Measured:
    """The measurements of one kind."""

    wire: Wire = field(default_factory=Wire)
    seconds: list[float] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    scores: Scores = field(default_factory=dict)


@contextmanager
def server(model: str, threads: int, *options: str) -> Iterator[str]:
    """An embedded server in a separate process, with these further options; gives its URL. Raises ServerDidNotStart."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = ("inference", "--model", model, "--port", str(port), "--threads", str(threads), *options)
    with served_by(*words, "--log-level", "WARNING", health=f"{url}/health"):
        yield url


@asynccontextmanager
async def relay(url: str, wire: Wire) -> AsyncIterator[str]:
    """Passes connections on to the server and counts their bytes; gives the relay's URL."""
    target, passing = httpx.URL(url), list[asyncio.Future[tuple[None, None]]]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(target.host, target.port)
        there, back = _pass_on(reader, server_writer, wire.add_sent), _pass_on(server_reader, writer, wire.add_received)
        passing.append(asyncio.gather(there, back))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        listening.close()
        await asyncio.gather(*passing)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        count(len(data))
        writer.write(data)
        await writer.drain()
    writer.close()


def scorer_of(kind: str, url: str) -> Scorer:
    """The scoring backend, with its usual settings."""
    if kind == "embedded":
        return EmbeddedScorer(kind, url)
    wire = TgiWire(url, timeout_seconds=_TIMEOUT_SECONDS, connections=_CONCURRENCY, max_top_tokens=1000)
    return PromptScorer(kind, wire, CallExecutor(concurrency=_CONCURRENCY))


async def score(kind: str, url: str, problem: Problem, labels: dict[Row, Label]) -> tuple[TreeScores, float]:
    """Score the tree once, connections warmed up before; the scores and the seconds they took."""
    tree = leave_one_out(problem, problem.rows, labels)
    scorer = scorer_of(kind, url)
    try:
        await scorer.probe(problem.labels)
        started = time.perf_counter()
        scores = await scorer.score(tree, problem.labels)
        return scores, time.perf_counter() - started
    finally:
        await scorer.close()


async def measure(url: str, problem: Problem, labels: dict[Row, Label], repeats: int) -> dict[str, Measured]:
    """Score through both kinds in turn; each run's prompts begin with a different line."""
    measured = {kind: Measured() for kind in KINDS}
    lines = (replace(problem, prefix=f"{number}\n\n") for number in count(_FIRST_LINE))
    for kind, found in measured.items():
        async with relay(url, found.wire) as relayed:
            await score(kind, relayed, next(lines), labels)
    for repeat in range(repeats):
        for kind in KINDS if repeat % 2 else KINDS[::-1]:
            scores, seconds = await score(kind, url, next(lines), labels)
            measured[kind].usage = scores.usage
            measured[kind].seconds.append(seconds)
    same = next(lines)
    for kind, found in measured.items():
        found.scores = (await score(kind, url, same, labels))[0].log_probabilities
    return measured


def largest_difference(one: Scores, other: Scores) -> float:
    """In nats, over all rows and labels."""
    return max(abs(a - b) for row, values in one.items() for a, b in zip(values, other[row], strict=True))


def table(rows: int, measured: dict[str, Measured]) -> Iterator[str]:
    """A line for each kind, and one with how many times as much the first takes as the second."""
    columns = [
        (found.wire.sent, found.wire.received, found.usage.tokens_sent, found.usage.tokens_computed)
        for found in measured.values()
    ]
    seconds = [median(found.seconds) for found in measured.values()]
    for kind, counts, taken in zip(KINDS, columns, seconds, strict=True):
        yield f"| {rows} | {kind} | {' | '.join(f'{number:,}' for number in counts)} | {taken:.2f} | |"
    ratios = " | ".join(f"{first / second:.2f}" for first, second in zip(*columns, strict=True))
    difference = largest_difference(*(found.scores for found in measured.values()))
    yield f"| {rows} | ratio | {ratios} | {seconds[0] / seconds[1]:.2f} | {difference:.1e} |"


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines; `label` is used if there is one")
    parser.add_argument("--text", default="statement", help="the field that holds a row's text")
    parser.add_argument("--model", default=str(SMALL_MODEL), help="folder or hub name")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256], help="how many rows")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each kind")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the server")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    data = [json.loads(line) for line in arguments.rows.read_text().splitlines() if line.strip()]
    sys.stdout.write(_HEAD)
    for size in arguments.sizes:
        problem, labels = problem_of(data[:size], arguments.text)
        with server(arguments.model, arguments.threads) as url:
            measured = asyncio.run(measure(url, problem, labels, arguments.repeats))
        sys.stdout.writelines(f"{line}\n" for line in table(len(problem.rows), measured))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
