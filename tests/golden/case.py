"""A half-run search of a release, and the result that later releases must reach."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from service.access.caller_store import CallerStore
from service.identifiers import JobId, Label, Row, WorkerId
from service.intake.bounds.limits import Limits
from service.intake.sources import InlineSource
from service.jobs.export.results import find_result, stream_result
from service.jobs.running.run import run_shard
from service.jobs.submission.submit import submit
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.records.jobs import ClaimedShard, Progress
from service.records.labels import LabelState, LabelStatus
from service.records.work import WorkOutcome
from service.result_formats import ResultFormat
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from service.storage.stored_config import read_config
from tests.support.claiming import claim_shard

HERE = Path(__file__).parent
LIMITS = Limits(max_bytes=1_000_000, max_rows=1_000, max_row_bytes=64_000)
WORKER = WorkerId("golden")
LEASE_SECONDS = 600.0
TASK = {
    "template": "Is {a} larger than {b}? It is",
    "labels": ["Yes", "No"],
    "id_field": "id",
    "relations": [{"kind": "antisymmetric", "first": "a", "second": "b"}],
}
SMALL = {"initial_rows": 4, "restarts": 2, "sweeps": 2, "folds": 2, "draws_per_row": 3.0, "seed": 11}
# The other baselines have one step, so they cannot be half-run.
CONFIGS: Mapping[str, dict[str, Any]] = {
    "folds": {"task": TASK, "search": {**SMALL, "strategy": "folds"}},
    "paper": {"task": TASK, "search": {**SMALL, "strategy": "paper"}},
    "authors": {"task": TASK, "search": {**SMALL, "strategy": "authors"}},
    "bootstrap": {"task": TASK, "method": "bootstrap", "search": SMALL},
}


@dataclass(frozen=True)
class Golden:
    """The content of one file."""

    config: dict[str, Any]
    rows: list[dict[str, Any]]
    checkpoint: str  # base64
    labels: list[list[Any]]  # position, label, confidence, margin, status, as stored beside the checkpoint
    result: list[str]  # the lines of the final result

    @classmethod
    def read(cls, path: Path) -> "Golden":
        return cls(**orjson.loads(path.read_bytes()))

    def write(self, path: Path) -> None:
        path.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n")

    def states(self) -> list[LabelState]:
        return [
            LabelState(
                position=Row(position),
                label=None if label is None else Label(label),
                confidence=confidence,
                margin=margin,
                status=LabelStatus(status),
            )
            for position, label, confidence, margin, status in self.labels
        ]


class StoppingScorer(DeterministicScorer):
    """The deterministic scorer; its n-th call stops the worker."""

    def __init__(self, last_call: int | None = None) -> None:
        super().__init__()
        self.stop = asyncio.Event()
        self.calls = 0
        self._last_call = last_call

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        self.calls += 1
        if self.calls == self._last_call:
            self.stop.set()
        return await super().score(tree, labels, all_spellings=all_spellings, separator=separator)


async def submitted(
    store: Store, config: dict[str, Any], rows: list[dict[str, Any]], *, idempotency_key: str | None = None
) -> JobId:
    """Queue a job."""
    receipt = await submit(
        read_config(config),
        InlineSource(rows, LIMITS),
        CallerStore(store, LOCAL_CALLER),
        ConfiguredScorers({"default": DeterministicScorer()}),
        idempotency_key=idempotency_key,
    )
    return receipt.job.id


async def claimed(store: Store) -> ClaimedShard:
    """Lease the shard."""
    async with store.worker_unit() as unit:
        found = await claim_shard(unit, WORKER, LEASE_SECONDS)
    assert found is not None
    return found


async def given_back(store: Store, shard: ClaimedShard) -> None:
    """Return the shard to the queue."""
    async with store.worker_unit() as unit:
        await unit.work.release(shard.lease)


async def left_half_way(store: Store, golden: Golden, checkpoint: bytes | None = None) -> JobId:
    """The job as the release left it, with its checkpoint or another one."""
    job_id = await submitted(store, golden.config, golden.rows)
    shard = await claimed(store)
    stored = base64.b64decode(golden.checkpoint) if checkpoint is None else checkpoint
    async with store.worker_unit() as unit:
        await unit.labels.write(shard.lease, golden.states())
        await unit.shards.save(shard.lease, checkpoint=stored, progress=Progress())
    await given_back(store, shard)
    return job_id


async def run(store: Store, scorer: StoppingScorer, *, checkpoint_seconds: float = 600.0) -> WorkOutcome:
    """Resume the only shard, as a worker does."""
    shard = await claimed(store)
    outcome = await run_shard(store, scorer, shard, checkpoint_seconds=checkpoint_seconds, stop=scorer.stop)
    if outcome is WorkOutcome.STOPPED:
        await given_back(store, shard)
    return outcome


async def result_lines(store: Store, job_id: JobId) -> list[str]:
    """The downloaded result."""
    project_store = CallerStore(store, LOCAL_CALLER)
    parts = stream_result(project_store, await find_result(project_store, job_id, partial=True), ResultFormat.JSONL)
    return b"".join([part async for part in parts]).decode().splitlines()
