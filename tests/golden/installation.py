"""A database of an installation with running jobs, as a release leaves it behind."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from service.access.caller_store import CallerStore
from service.access.issuing import create_key, limit_project
from service.identifiers import JobId
from service.jobs.control import pause
from service.jobs.running.answer_cache import Memory
from service.jobs.running.run import run_shard
from service.ports.store import Store
from service.records.access import LOCAL_CALLER, Scope
from service.records.jobs import ClaimedShard
from service.records.webhooks import Answer
from service.records.work import WorkOutcome
from service.webhooks.addresses import AddressPolicy
from service.webhooks.dispatch import deliver
from service.webhooks.endpoints import create_webhook
from tests.golden.case import HERE, SMALL, TASK, StoppingScorer, claimed, given_back, result_lines, submitted
from tests.support.memory import MemoryStore
from tests.support.running.harness import pairs
from tests.support.stored import trained

DATABASES = HERE / "databases"
QUOTAS = {"rows": 1_000_000}  # the project's own
CONFIG: dict[str, Any] = {
    "task": {**TASK, "gold_field": "gold"},
    "search": {**SMALL, "strategy": "folds", "anchor_rows": 8, "shard_rows": 6},
}
ROWS, SHARDS = 32, 5  # an anchor and four later shards
# No two jobs have the same prompts, or the answer memory would answer the second one.
FIRST_ROW: Mapping[str, int] = {"finished": 0, "paused": 100, "half-run": 200, "queued": 300}
# The calls that stop a worker: later shards score all rows first, then doubtful ones.
MIDDLE_OF_ANCHOR, MIDDLE_OF_SHARD = 15, 1


@dataclass(frozen=True)
class Installation:
    """The contents of the database, and the results that later releases must reach."""

    key: str  # the text of a valid API key
    webhook: str  # its id
    jobs: dict[str, str]  # by state
    results: dict[str, list[str]]  # by state: the lines of the final result

    @classmethod
    def read(cls, path: Path) -> "Installation":
        """Read the installation from this file."""
        return cls(**orjson.loads(path.read_bytes()))

    def write(self, path: Path) -> None:
        """Write a new file. Raises FileExistsError."""
        with path.open("xb") as file:
            file.write(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n")


class Receiver:
    """Accepts the first message and refuses all others."""

    def __init__(self) -> None:
        self._calls = 0

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        self._calls += 1
        return Answer(status=204 if self._calls == 1 else 503)


async def set_up(store: Store) -> Installation:
    """Fill an empty store with a job in every state at an upgrade, and everything that people create."""
    project_store = CallerStore(store, LOCAL_CALLER)
    _, key = await create_key(store, project=LOCAL_CALLER.project, name="golden", scopes=[Scope.ADMIN])
    await limit_project(store, LOCAL_CALLER.project, QUOTAS)
    webhook = await create_webhook(
        project_store, AddressPolicy(), url="https://receiver.example/hook", events=(), description="golden", at_most=1
    )
    finished = await _submitted(store, "finished")
    await _work(store, shards=SHARDS)
    paused = await _submitted(store, "paused")
    await given_back(store, await _come_half_way(store, MIDDLE_OF_ANCHOR))
    await pause(project_store, paused)
    half_run = await _submitted(store, "half-run")
    await _work(store, shards=2)
    await _come_half_way(store, MIDDLE_OF_SHARD)
    queued = await _submitted(store, "queued")
    await _tell(store)
    await trained(store, reward=await trained(store))
    jobs = {"finished": finished, "paused": paused, "half-run": half_run, "queued": queued}
    return Installation(key.text, webhook.id, dict(jobs), {name: await _undisturbed(name) for name in jobs})


async def _submitted(store: Store, name: str) -> JobId:
    shift = FIRST_ROW[name]
    rows = [{**row, "a": row["a"] + shift, "b": row["b"] + shift} for row in pairs(ROWS)]
    return await submitted(store, CONFIG, rows, idempotency_key=name)


async def _work(store: Store, *, shards: int) -> None:
    """Finish this many shards."""
    memory = Memory(store)
    for _ in range(shards):
        await _run(store, StoppingScorer(), memory, await claimed(store))


async def _come_half_way(store: Store, last_call: int) -> ClaimedShard:
    """A shard that its worker leaves unfinished."""
    shard = await claimed(store)
    outcome = await _run(store, StoppingScorer(last_call), Memory(store), shard)
    if outcome is not WorkOutcome.STOPPED:
        raise RuntimeError("the shard has no middle")
    return shard


async def _run(store: Store, scorer: StoppingScorer, memory: Memory, shard: ClaimedShard) -> WorkOutcome:
    return await run_shard(store, scorer, shard, checkpoint_seconds=0.0, stop=scorer.stop, memory=memory)


async def _tell(store: Store) -> None:
    """Make one attempt to deliver every message."""
    receiver = Receiver()
    async with store.worker_unit() as unit:
        due = await unit.deliveries.claim(limit=10, per_webhook=10, lease_seconds=60.0)
    for message in due:
        await deliver(store, receiver, message)


async def _undisturbed(name: str) -> list[str]:
    """The result of the same job, run without interruption."""
    store = MemoryStore()
    job_id = await _submitted(store, name)
    await _work(store, shards=SHARDS)
    return await result_lines(store, job_id)
