"""Labels a planted data set with the real search in this process, and computes its report."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.labelling.configuration import parse_config
from service.access.caller_store import CallerStore
from service.errors import BackendRefused
from service.identifiers import WorkerId
from service.intake.bounds.limits import Limits
from service.intake.sources import InlineSource
from service.jobs.reporting.report import Report, report
from service.jobs.reporting.verdicts import Verdict
from service.jobs.running.run import run_shard
from service.jobs.submission.submit import submit
from service.ports.scoring import Scorer
from service.ports.trained_scores import TrainedScorer
from service.records.access import LOCAL_CALLER
from service.records.jobs import ClaimedShard
from service.records.work import WorkStatus
from service.scoring.registry import ConfiguredScorers
from tests.support.claiming import claim_shard
from tests.support.memory import MemoryStore

LIMITS = Limits(max_bytes=10_000_000, max_rows=10_000, max_row_bytes=64_000)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A data set, a language model that reads it in a certain way, and the expected report."""

    name: str
    verdict: Verdict
    code: str | None  # a reason that must be among those given; None: there must be none
    rows: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    scorer: Callable[[], Scorer]
    trainer: Callable[[], TrainedScorer] | None = None
    budget: float | None = None  # the share of the tokens that the search would need which it may compute

    def __str__(self) -> str:
        return self.name


async def reported(case: Case) -> Report:
    """The report on the labelled case, or on as much as the search labelled."""
    if case.budget is None:
        return await _reported(case)
    wanted = (await _reported(case)).cost.tokens_computed
    limits = {"max_tokens_computed": int(case.budget * wanted)}
    return await _reported(replace(case, config={**case.config, "limits": limits}))


async def _reported(case: Case) -> Report:
    store, scorer = MemoryStore(), case.scorer()
    trainer = case.trainer() if case.trainer else None
    project_store = CallerStore(store, LOCAL_CALLER)
    config = parse_config(case.config)
    receipt = await submit(
        config,
        InlineSource(case.rows, LIMITS),
        project_store,
        ConfiguredScorers({"default": scorer}, {"default": trainer} if trainer else {}),
        idempotency_key=None,
    )
    while (claimed := await _claim(store)) is not None:
        await _run(store, scorer, trainer, claimed)
    return await report(project_store, receipt.job.id)


async def _claim(store: MemoryStore) -> ClaimedShard | None:
    async with store.worker_unit() as unit:
        return await claim_shard(unit, WorkerId("worker"), 600.0)


async def _run(store: MemoryStore, scorer: Scorer, trainer: TrainedScorer | None, claimed: ClaimedShard) -> None:
    """Run one shard; a refusal fails it, as in a worker."""
    try:
        await run_shard(store, scorer, claimed, checkpoint_seconds=600.0, stop=asyncio.Event(), trainer=trainer)
    except BackendRefused as error:
        async with store.worker_unit() as unit:
            await unit.work.finish(claimed.lease, WorkStatus.FAILED, error={"message": str(error)})
