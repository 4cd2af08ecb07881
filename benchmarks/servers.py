"""Runs one job through a real vLLM and through the embedded server's two wires, and compares the results.

    make test-vllm                    once, to install vLLM
    python -m benchmarks.servers      writes docs/servers/comparison.md; ten minutes on two quiet cores

It is a whole job: the API, a worker and the search in this process, over a private Postgres; the worker's part is
timed. The ways differ only in the inference server, which is fresh for each run, so that no prefix cache knows the
job. Runs of all ways alternate.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
from pydantic import SecretStr
from transformers import AutoTokenizer

from api.app import create_app
from benchmarks import servers_page
from benchmarks.comparison import Comparison, Measured, Way
from benchmarks.ingest import private_postgres
from benchmarks.recording import Recorder
from benchmarks.scale import Data, generated
from benchmarks.tree_call import server as embedded_server
from benchmarks.vllm_server import block_tokens, prompt_tokens, vllm_server
from inference.model.tokenization import PromptTokenizer
from inference.settings import SMALL_MODEL
from migrations.commands import upgrade
from service.bootstrap import Application, build_application
from service.identifiers import WorkerId
from service.scoring.kinds import AnyBackend, backend_of
from service.scoring.registry import ConfiguredScorers
from service.settings import Settings
from workers.worker import Worker

PAGE = Path(__file__).parents[1] / "docs" / "servers" / "comparison.md"
CONCURRENCY = 32
TOP_TOKENS = 1_000  # the most that the embedded server's `tgi` wire names
BLOCKS = (1, 16, 32, 128)  # an ideal cache, vLLM's default on a GPU, its smallest on the CPU, its default there


@contextmanager
def _embedded() -> Iterator[str]:
    with embedded_server(str(SMALL_MODEL), threads=1) as url:
        yield url


def ways() -> tuple[Way, ...]:
    """The tree call, to which the others are compared, TGI's wire, and vLLM with two sizes of blocks."""
    tree, tgi, vllm = (
        backend_of(kind=kind, concurrency=CONCURRENCY, max_top_tokens=TOP_TOKENS)
        for kind in ("embedded", "tgi", "vllm")
    )
    return (
        Way("embedded server, tree call", tree, _embedded),
        Way("embedded server, `tgi` wire", tgi, _embedded),
        Way("vLLM, blocks of 32", vllm, partial(vllm_server, "--block-size", "32")),
        Way("vLLM, blocks of 128", vllm, vllm_server),
    )


@asynccontextmanager
async def service_on(backend: AnyBackend) -> AsyncIterator[tuple[Application, Recorder]]:
    """The service over a database that remembers no earlier run, its one backend recorded."""
    with private_postgres() as url:
        await upgrade(url)
        application = build_application(Settings(backends=(backend,), database_url=SecretStr(url)))
        recorder = Recorder(application.scorers.get(backend.name))
        try:
            yield replace(application, scorers=ConfiguredScorers({backend.name: recorder})), recorder
        finally:
            await application.close()


async def run_job(way: Way, url: str, data: Data) -> Measured:
    """One job, its work timed. Raises RuntimeError where it does not succeed."""
    async with service_on(way.settings.model_copy(update={"url": url})) as (application, recorder):
        transport = httpx.ASGITransport(create_app(application))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=600) as client:
            job = await _created(client, data)  # which probes the server, so that its first steps are not timed
            before = prompt_tokens(url) if way.counts else None
            started = time.perf_counter()
            await _finish(client, application, job)
            seconds = time.perf_counter() - started
            counted = None if before is None else prompt_tokens(url).since(before)
            rows = await _labelled(client, job)
            report = (await client.get(f"{job}/report")).raise_for_status().json()
    return Measured(
        labels=[row["icm_label"] for row in rows],
        accuracy=sum(row["icm_label"] == str(row["gold"]) for row in rows) / len(rows),
        verdict=report["verdict"],
        seconds=seconds,
        recorder=recorder,
        counted=counted,
        block=block_tokens(url) if way.counts else None,
    )


async def _created(client: httpx.AsyncClient, data: Data) -> str:
    """The address of a new job."""
    config = {**data.config, "search": {"seed": 0}}
    reply = await client.post("/v1/jobs", json={"config": config, "examples": list(data.rows)})
    location: str = reply.raise_for_status().headers["location"]
    return location


async def _finish(client: httpx.AsyncClient, application: Application, job: str) -> None:
    """Work until nothing is left to do."""
    worker = Worker(application, WorkerId("worker"))
    while await worker.work_once():
        pass
    found = (await client.get(job)).raise_for_status().json()
    if found["status"] != "succeeded":
        raise RuntimeError(f"the job is {found['status']}: {found['error']}")


async def _labelled(client: httpx.AsyncClient, job: str) -> list[dict[str, Any]]:
    reply = (await client.get(f"{job}/result")).raise_for_status()
    return [orjson.loads(line) for line in reply.text.splitlines()]


def compare(data: Data, repeats: int) -> Comparison:
    """Run every way in turn, `repeats` times."""
    comparison = Comparison(data, ways())
    for repeat in range(repeats):
        for way in comparison.ways:
            with way.start() as url:
                run = asyncio.run(run_job(way, url, data))
            comparison.runs.setdefault(way.name, []).append(run)
            sys.stderr.write(f"[{repeat + 1}/{repeats}] {way.name}: {run.seconds:.1f} s, {run.recorder.usage}\n")
    return comparison


def ideal_computed(prompts: Sequence[str]) -> Mapping[int, int]:
    """Tokens computed by a prefix cache that shares whole blocks and forgets nothing, for each size of block."""
    tokenizer = PromptTokenizer(AutoTokenizer.from_pretrained(SMALL_MODEL))
    encoded = [tokenizer.encode(prompt) for prompt in prompts]
    return {block: sum(computed_each(encoded, block)) for block in BLOCKS}


def computed_each(prompts: Sequence[Sequence[int]], block: int) -> Iterator[int]:
    """Tokens of each prompt that such a cache has not seen in those before it; the last one is always computed."""
    known = set[int]()
    for prompt in prompts:
        hashes, running = list[int](), 0
        for end in range(block, len(prompt) + 1, block):
            running = hash((running, tuple(prompt[end - block : end])))
            hashes.append(running)
        usable = hashes[: (len(prompt) - 1) // block]
        cached = next((number for number, value in enumerate(usable) if value not in known), len(usable))
        known.update(hashes)
        yield len(prompt) - cached * block


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128, help="generated comparisons in twins")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way")
    parser.add_argument("--out", type=Path, default=PAGE)
    return parser.parse_args()


def main() -> None:
    """Run, compare, write."""
    arguments = read_arguments()
    comparison = compare(generated(arguments.rows), arguments.repeats)
    prompts = comparison.first(comparison.ways[0]).recorder.asked
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(servers_page.write(comparison, ideal_computed(prompts)), "utf-8")
    sys.stdout.write(f"{arguments.out}\n")


if __name__ == "__main__":
    main()
