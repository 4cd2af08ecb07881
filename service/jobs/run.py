"""The loop around one shard: load or begin a search, ask, score, tell, save, until it is done or must stop."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from service.config import Limits
from service.entities import ClaimedShard, LabelState, LabelStatus, Progress, ShardStatus
from service.identifiers import Label, Row
from service.jobs.problem import load_problem, strategy_of
from service.ports import Scorer, Store
from service.search import checkpoint
from service.search.demonstrations import keep_fitting
from service.search.engine import Search
from service.search.objective import Scores, margin
from service.search.prompt_tree import Usage
from service.search.steps import Phase, Request, State, StopReason

UNCERTAIN_MARGIN_NATS = 0.5  # below this the runner-up has more than 3/8 of the two labels' probability


class ShardOutcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"  # the shard is finished and recorded as such
    STOPPED = "stopped"  # asked to stop; everything up to the last step is saved


async def run_shard(
    store: Store, scorer: Scorer, claimed: ClaimedShard, *, checkpoint_seconds: float, stop: asyncio.Event
) -> ShardOutcome:
    """Search the shard's labels to the end, or until told to stop. Raises BackendError and LeaseLost."""
    problem = await load_problem(store, scorer, claimed)
    run = _Run(store, scorer, claimed, Search(problem, strategy_of(claimed.config), _stored_state(claimed)))
    saved = time.monotonic()
    while (request := run.search.ask()) is not None:
        if stop.is_set() or (limited := await run.reached_limit(claimed.config.limits)):
            break
        if await run.advance(request) and time.monotonic() - saved >= checkpoint_seconds:
            await run.save()
            saved = time.monotonic()
    else:
        limited = False
    if stop.is_set() and run.search.state.phase is not Phase.DONE:
        await run.save()
        return ShardOutcome.STOPPED
    await run.finish(StopReason.LIMIT if limited else run.search.state.stop)
    return ShardOutcome.SUCCEEDED


def _stored_state(claimed: ClaimedShard) -> State | None:
    """Where an earlier worker stopped; nothing where another release did, whose search can't be gone on with."""
    if claimed.checkpoint is None:
        return None
    try:
        return checkpoint.from_json(orjson.loads(claimed.checkpoint))
    except checkpoint.OtherVersion:
        return None


@dataclass
class _Run:
    """A search at work, what it has cost, and which labels are stored."""

    store: Store
    scorer: Scorer
    claimed: ClaimedShard
    search: Search

    def __post_init__(self) -> None:
        progress = self.claimed.progress
        self.usage = Usage(progress.prompts, progress.tokens_sent, progress.tokens_computed)
        self.stored: dict[Row, LabelState] = {}

    async def advance(self, request: Request) -> bool:
        """Score what the search asks for and tell it; says whether a step has ended."""
        labels, all_spellings = self.search.problem.labels, self.claimed.config.task.all_spellings
        asked = (self.scorer.score(tree, labels, all_spellings=all_spellings) for tree in request)
        answer = await asyncio.gather(*asked)
        for scores in answer:
            self.usage += scores.usage
        return await asyncio.to_thread(self.search.tell, answer)

    async def reached_limit(self, limits: Limits) -> bool:
        """Whether the job as a whole has used up what its limits allow."""
        if limits.max_tokens_computed is None and limits.max_seconds is None:
            return False
        async with self.store.workbench() as unit:
            tokens, seconds = await unit.shards.job_totals(self.claimed.lease.job_id)
        unsaved = self.usage.tokens_computed - self.claimed.progress.tokens_computed
        return tokens + unsaved >= (limits.max_tokens_computed or math.inf) or seconds >= (
            limits.max_seconds or math.inf
        )

    async def save(self) -> None:
        """Store the search's state, the labels that changed and the cost, in one transaction."""
        state = self.search.state
        states = label_states(self.search.problem.rows, state.labels, state.scores)
        changed = [new for new in states if self.stored.get(new.position) != new]
        async with self.store.workbench() as unit:
            await unit.labels.write(self.claimed.lease, changed)
            await unit.shards.save(
                self.claimed.lease, checkpoint=orjson.dumps(checkpoint.to_json(state)), progress=self.progress()
            )
        self.claimed = replace(self.claimed, progress=self.progress())
        self.stored.update({new.position: new for new in changed})

    async def finish(self, reason: StopReason | None) -> None:
        """Store the last labels and end the shard."""
        await self.save()
        async with self.store.workbench() as unit:
            await unit.shards.finish(self.claimed.lease, ShardStatus.SUCCEEDED, summary=self.summary(reason))

    def progress(self) -> Progress:
        """How far the shard is and what it has cost."""
        state, problem = self.search.state, self.search.problem
        utility = state.summary.get("utility", state.best.utility if state.best else None)
        return Progress(
            rows=len(problem.rows),
            labeled=len(state.labels),
            iterations=state.iterations,
            accepted=state.accepted,
            utility=utility if isinstance(utility, float) else None,
            inconsistencies=len(problem.constraints.conflicts(state.labels)),
            prompts=self.usage.prompts,
            tokens_sent=self.usage.tokens_sent,
            tokens_computed=self.usage.tokens_computed,
        )

    def summary(self, reason: StopReason | None) -> Mapping[str, Any]:
        """Facts for the report."""
        problem, labels = self.search.problem, self.search.state.labels
        shown = keep_fitting(problem, labels, problem.random("fitting"))
        return {
            **self.search.state.summary,
            "rows": len(problem.rows),
            "demonstrations_dropped": len(labels) - len(shown),
            "stop_reason": None if reason is None else reason.value,
            "tokens_modelled": self.usage.modelled,
            "unproven_redraws": self.search.state.unproven,
        }


def label_states(rows: Sequence[Row], labels: Mapping[Row, Label], scores: Scores) -> list[LabelState]:
    """What can be said of each row: its label, probability over the label set and margin; nothing made up."""
    return [_label_state(row, labels.get(row), scores) for row in rows]


def _label_state(row: Row, label: Label | None, scores: Scores) -> LabelState:
    if label is None:
        return LabelState(position=row, label=None, confidence=None, margin=None, status=LabelStatus.UNLABELED)
    if row not in scores:
        return LabelState(position=row, label=label, confidence=None, margin=None, status=LabelStatus.UNCERTAIN)
    nats = margin(scores[row], label)
    sure = nats >= UNCERTAIN_MARGIN_NATS
    return LabelState(
        position=row,
        label=label,
        confidence=math.exp(scores[row][label]),
        margin=nats,
        status=LabelStatus.LABELED if sure else LabelStatus.UNCERTAIN,
    )
