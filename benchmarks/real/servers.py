"""Labels the same real text with the same language model through each server on this machine's CPU.

    make test-llamacpp GEMMA=yes; make test-vllm      once, to install llama.cpp and vLLM
    python -m benchmarks.real.servers --data FOLDER --model FOLDER --gguf FILE.gguf

The job is a whole one, as in `benchmarks.servers`; a fresh server for each run, runs of all ways in turn. Prints a
table in Markdown; times are multiples of the first way's.
"""

import argparse
import asyncio
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.comparison import Comparison, Way
from benchmarks.llamacpp_server import llamacpp_server
from benchmarks.real.tasks import draw
from benchmarks.scale import Data
from benchmarks.servers import run_job
from benchmarks.tables import markdown
from benchmarks.tree_call import server as embedded_server
from benchmarks.vllm_server import vllm_server
from service.scoring.kinds import backend_of

HEAD = ("server", "accuracy", "labels that differ", "prompts in common", "largest difference (nats)", "mean difference",
        "tokens sent", "tokens computed", "time", "CPU time")  # fmt: skip
CONTEXT_TOKENS = 4096
SLOTS = 4  # that llama.cpp works on at once

CpuSeconds = Mapping[str, Sequence[float]]
Start = Callable[[], AbstractContextManager[str]]


def ways(arguments: argparse.Namespace) -> tuple[Way, ...]:
    """The embedded server in both precisions, and the other servers that are wanted."""
    embedded = partial(embedded_server, str(arguments.model), arguments.threads)
    found = [
        _way("embedded server, float32", "embedded", embedded),
        _way("embedded server, mixed", "embedded", partial(embedded, "--dtype", "mixed")),
    ]
    if arguments.gguf:
        start = partial(llamacpp_server, arguments.gguf, slots=SLOTS, context_tokens=SLOTS * CONTEXT_TOKENS)
        found.append(_way("llama.cpp", "llamacpp", start, concurrency=SLOTS))
    if arguments.vllm:
        start = partial(vllm_server, "--block-size", "32", model=arguments.model, context_tokens=CONTEXT_TOKENS)
        found.append(_way("vLLM, blocks of 32", "vllm", start))
    return tuple(way for way in found if not arguments.ways or any(word in way.name for word in arguments.ways))


def _way(name: str, kind: str, start: Start, *, concurrency: int = 32) -> Way:
    return Way(name, backend_of(kind=kind, concurrency=concurrency, timeout_seconds=600), start)


def real_rows(task: str, folder: Path, rows: int) -> Data:
    """The rows of a task that has no relations, as a data set with gold."""
    drawn = draw(task, folder, rows, seed=0)
    labels = drawn.config.task.labels
    examples = [{"text": text, "gold": labels[drawn.gold[row]]} for row, text in drawn.texts.items()]
    return Data(examples, {"task": {"template": "{text}", "labels": labels, "gold_field": "gold"}})


def compare(comparison: Comparison, repeats: int) -> CpuSeconds:
    """Run every way in turn, `repeats` times; returns the CPU seconds of each way's servers, start included."""
    cpu_seconds: dict[str, list[float]] = {}
    for repeat in range(repeats):
        for way in comparison.ways:
            before = _children_cpu_seconds()
            with way.start() as url:
                run = asyncio.run(run_job(way, url, comparison.data))
            comparison.runs.setdefault(way.name, []).append(run)
            cpu_seconds.setdefault(way.name, []).append(_children_cpu_seconds() - before)
            sys.stderr.write(f"[{repeat + 1}/{repeats}] {way.name}: {run.seconds:.1f} s, {run.recorder.usage}\n")
    return cpu_seconds


def _children_cpu_seconds() -> float:
    """Of processes that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lines(comparison: Comparison, cpu_seconds: CpuSeconds) -> Iterator[tuple[str, ...]]:
    """A line for each way; differences and times are relative to the first."""
    base = comparison.ways[0]
    for way in comparison.ways:
        run, first = comparison.first(way), comparison.first(base)
        common, largest = comparison.difference(way, base)
        differ = sum(one != other for one, other in zip(run.labels, first.labels, strict=True))
        usage = run.recorder.usage
        yield (
            way.name,
            f"{run.accuracy:.3f}",
            str(differ),
            f"{common:,}",
            f"{largest:.3f}",
            f"{run.recorder.mean_difference(first.recorder):.4f}",
            f"{usage.tokens_sent:,}",
            f"{usage.tokens_computed:,}",
            f"{comparison.seconds(way) / comparison.seconds(base):.2f}",
            f"{median(cpu_seconds[way.name]) / median(cpu_seconds[base.name]):.2f}",
        )


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the tasks' files")
    parser.add_argument("--model", type=Path, required=True, help="folder of the language model, or its GGUF file")
    parser.add_argument("--gguf", type=Path, help="the same language model for llama.cpp")
    parser.add_argument("--vllm", action="store_true", help="vLLM, too")
    parser.add_argument("--ways", nargs="+", metavar="WORD", help="only those with such a word in their name")
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    comparison = Comparison(real_rows(arguments.task, arguments.data, arguments.rows), ways(arguments))
    cpu_seconds = compare(comparison, arguments.repeats)
    sys.stdout.write(markdown(HEAD, list(lines(comparison, cpu_seconds))))


if __name__ == "__main__":
    main()
