"""Labels a planted data set by the real search, in this process, and reports on it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from service.config import JobConfig
from service.entities import ClaimedShard, ShardStatus
from service.errors import BackendRefused
from service.identifiers import JobId, Label, Row, WorkerId
from service.intake.limits import Limits
from service.intake.sources import InlineSource
from service.jobs.health.facts import read_summaries
from service.jobs.judgement import Verdict
from service.jobs.problem import ANCHOR, build_problem
from service.jobs.report import Report, report
from service.jobs.run import run_shard
from service.jobs.submit import submit
from service.ports import Scorer
from service.scoring.registry import ConfiguredScorers
from service.search import evaluation
from service.storage.memory import MemoryStore

LIMITS = Limits(max_bytes=10_000_000, max_rows=10_000, max_row_bytes=64_000)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A data set with a language model that reads it in one certain way, and what the report must say."""

    name: str
    verdict: Verdict
    code: str | None  # a reason that must be among those given; None: there must be no reason at all
    rows: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    scorer: Callable[[], Scorer]
    facts: Mapping[str, Any] = field(default_factory=dict)  # what the search should say, where it does not yet

    budget: float | None = None  # the search may compute this share of the tokens that it would want

    def __str__(self) -> str:
        return self.name


async def reported(case: Case) -> Report:
    """The report on the case once it is labelled, or as far as it came."""
    if case.budget is None:
        return await _reported(case)
    wanted = (await _reported(case)).cost.tokens_computed
    limits = {"max_tokens_computed": int(case.budget * wanted)}
    return await _reported(replace(case, config={**case.config, "limits": limits}))


async def _reported(case: Case) -> Report:
    store, scorer = MemoryStore(), case.scorer()
    config = JobConfig.model_validate(case.config)
    receipt = await submit(
        config,
        InlineSource(case.rows, LIMITS),
        store,
        ConfiguredScorers({"default": scorer}),
        idempotency_key=None,
        max_reported_faults=10,
    )
    last = None
    while (claimed := await _claim(store)) is not None:
        last = claimed if claimed.lease.shard == ANCHOR else last
        await _run(store, scorer, claimed)
    if last is not None:
        await _complete(store, scorer, last, case.facts)
    return await report(store, receipt.job.id)


async def _claim(store: MemoryStore) -> ClaimedShard | None:
    async with store.workbench() as unit:
        return await unit.shards.claim(WorkerId("worker"), 600.0)


async def _run(store: MemoryStore, scorer: Scorer, claimed: ClaimedShard) -> None:
    """One shard; a refusal fails it, as a worker would have it."""
    try:
        await run_shard(store, scorer, claimed, checkpoint_seconds=0.0, stop=asyncio.Event())
    except BackendRefused as error:
        async with store.workbench() as unit:
            await unit.shards.finish(claimed.lease, ShardStatus.FAILED, error={"message": str(error)})


async def _complete(store: MemoryStore, scorer: Scorer, anchor: ClaimedShard, facts: Mapping[str, Any]) -> None:
    """Say of the anchor's search what it has not said itself: measured where possible, else as planted."""
    job_id = anchor.lease.job_id
    async with store.desk() as desk:
        said = (await read_summaries(desk, job_id)).anchor
    if not said or said.get("permuted_utility") is None:
        return
    if said.get("shuffled_utility") is None:
        facts = {**facts, "shuffled_utility": await _shuffled_utility(store, scorer, anchor)}
    summary = {**facts, **{name: value for name, value in said.items() if value is not None}}
    async with store.desk() as desk:
        await desk.events.append(job_id, "shard.finished", {"shard": ANCHOR, "summary": summary})


async def _shuffled_utility(store: MemoryStore, scorer: Scorer, anchor: ClaimedShard) -> float:
    """U of the anchor's labels dealt out at random over its rows."""
    async with store.workbench() as unit:
        rows = await unit.rows.of(anchor.dataset_id, ANCHOR)
        found = await unit.labels.of_shard(JobId(anchor.lease.job_id), ANCHOR)
    problem = await build_problem(scorer, anchor.config, rows, "")
    dealt = list(found.values())
    Random(0).shuffle(dealt)
    labels: dict[Row, Label] = dict(zip(found, dealt, strict=True))
    asking = evaluation.leave_one_out(problem, labels)
    trees = next(asking)
    answers = [await scorer.score(tree, problem.labels) for tree in trees]
    try:
        asking.send(answers)
    except StopIteration as end:
        [candidate] = end.value
        return float(candidate.utility)
    raise AssertionError("leave-one-out asks once")
