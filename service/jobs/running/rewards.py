"""Runs a shard of a job that a reward model labels: of two texts, the one with the higher reward is the better.

The worker scores every distinct text of a shard once, in a fixed order and in requests of a fixed size. So an
interrupted shard ends with the same numbers.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.errors import RewardModelUnusable, TrainingNotFinished, TrainingNotFound
from service.identifiers import JobId, Row
from service.jobs.running.allowance import Allowance
from service.jobs.running.expected_counts import expected_counts
from service.jobs.running.preferences import ComparedRows, Labelling, Unlabelled, labelling_of
from service.jobs.running.run import label_states
from service.ports.observers import UNOBSERVED, WorkObserver
from service.ports.rewards import RewardScorer
from service.ports.store import Store
from service.records.access import NO_QUOTAS, Quotas
from service.records.jobs import ClaimedShard, Progress, SearchPace
from service.records.labels import LabelState
from service.records.rewards import RewardedText, RewardModel
from service.records.work import WorkOutcome, WorkStatus
from service.search.predictions.prompt_tree import Usage
from service.search.state.steps import StopReason

TEXTS_AT_ONCE = 64  # in one request; the worker notices a stop or a limit between two requests
_VERSION = 1  # of checkpoints


async def run_rewarded_shard(
    store: Store,
    rewards: RewardScorer,
    claimed: ClaimedShard,
    *,
    checkpoint_seconds: float,
    stop: asyncio.Event,
    observer: WorkObserver = UNOBSERVED,
    quotas: Quotas = NO_QUOTAS,
) -> WorkOutcome:
    """Label the shard to the end, or until `stop` is set; a paused job resumes first.

    Raises LeaseLost, StorageUnavailable, RewardModelUnusable if the reward model was deleted or does not load,
    RewardsUnavailable, ArtifactsUnavailable, and QuotaExhausted if the project has no tokens left today.
    """
    allowance = Allowance(store, claimed, quotas)
    if claimed.paused:
        await allowance.check_daily_quota()
    model = await _reward_model(store, claimed)
    async with store.worker_unit() as unit:
        if claimed.paused:
            await unit.work.resume(claimed.lease)
        rows = await unit.rows.of(claimed.dataset_id, claimed.lease.number)
    shard = await asyncio.to_thread(ComparedRows.of, claimed.config.task, rows)
    rewarded, labelled = _stored(claimed, model, shard), claimed.progress.labeled
    run = _Run(store, rewards, claimed, model, shard, allowance, observer, rewarded, labelled)
    limited = await run.score(checkpoint_seconds, stop)
    if stop.is_set() and run.is_open and not limited:
        await run.save()
        return WorkOutcome.STOPPED
    await run.finish(StopReason.LIMIT if limited else None)
    return WorkOutcome.SUCCEEDED


async def _reward_model(store: Store, claimed: ClaimedShard) -> RewardModel:
    """The job's reward model. Raises RewardModelUnusable if it was deleted."""
    named = claimed.config.reward
    try:
        async with store.worker_unit() as unit:
            found = await unit.trainings.finished(claimed.lease, JobId(str(named)))
    except (TrainingNotFound, TrainingNotFinished) as error:
        raise RewardModelUnusable(
            f"the reward model {named} of this job was deleted before the job ended; create a job with another one"
        ) from error
    model = RewardModel.of(found)
    if model is None:
        raise RewardModelUnusable(f"the training {named} has made no reward model")
    return model


def _stored(claimed: ClaimedShard, model: RewardModel, shard: ComparedRows) -> list[RewardedText]:
    """The rewards in an earlier worker's checkpoint, if they are of this reward model and these texts."""
    if claimed.checkpoint is None:
        return []
    saved: dict[str, Any] = orjson.loads(claimed.checkpoint)
    rewards = saved.get("rewards", [])
    if (saved.get("version"), saved.get("model")) != (_VERSION, model.sha256) or len(rewards) > len(shard.texts):
        return []
    return [RewardedText(reward, tokens) for reward, tokens in rewards]


@dataclass
class _Run:
    """One worker's run of a shard: the rewards so far, and the label states that are stored."""

    store: Store
    rewards: RewardScorer
    claimed: ClaimedShard
    model: RewardModel
    shard: ComparedRows
    allowance: Allowance
    observer: WorkObserver
    rewarded: list[RewardedText]  # in the order of the shard's texts
    labelled: int  # rows with a label at the last save
    stored: dict[Row, LabelState] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether texts without a reward are left."""
        return len(self.rewarded) < len(self.shard.texts)

    async def score(self, checkpoint_seconds: float, stop: asyncio.Event) -> bool:
        """Score texts until the end, a limit or a stop, and save at intervals; return whether a limit was reached."""
        saved = time.monotonic()
        while self.is_open and not stop.is_set():
            if not await self.allowance.permits(self.save):
                return True
            texts = self.shard.texts[len(self.rewarded) : len(self.rewarded) + TEXTS_AT_ONCE]
            self.rewarded += await self.rewards.score(self.model, texts)
            if self.is_open and time.monotonic() - saved >= checkpoint_seconds:
                await self.save()
                saved = time.monotonic()
        return False

    async def save(self) -> Labelling:
        """Store the rewards, the changed label states and the cost in one transaction; return the labelling."""
        labelling = await asyncio.to_thread(labelling_of, self.shard, self._rewards_by_text())
        states = self._states(labelling)
        changed = [state for state in states if self.stored.get(state.position) != state]
        rewards = [[one.reward, one.tokens] for one in self.rewarded]
        checkpoint = orjson.dumps({"version": _VERSION, "model": self.model.sha256, "rewards": rewards})
        began = time.monotonic()
        async with self.store.worker_unit() as unit:
            await unit.labels.write(self.claimed.lease, changed)
            left = SearchPace(prompts_left=len(self.shard.texts) - len(self.rewarded), prompts_per_query=1)
            await unit.shards.set_pace(self.claimed.lease, left)
            await unit.shards.save(self.claimed.lease, checkpoint=checkpoint, progress=self._progress(labelling))
            await unit.shards.spend(self.claimed.lease, self._usage(), remembered=0)
        self.stored.update({state.position: state for state in changed})
        self.observer.saved(time.monotonic() - began, rows_labelled=max(len(labelling.labels) - self.labelled, 0))
        self.labelled = len(labelling.labels)
        return labelling

    async def finish(self, reason: StopReason | None) -> None:
        """Store the last labels and end the shard."""
        labelling = await self.save()
        summary = self._summary(labelling, reason)
        async with self.store.worker_unit() as unit:
            await unit.shards.summarize(self.claimed.lease, summary)
            await unit.work.finish(self.claimed.lease, WorkStatus.SUCCEEDED, summary=summary)

    def _rewards_by_text(self) -> dict[str, float | None]:
        return {text: one.reward for text, one in zip(self.shard.texts, self.rewarded, strict=False)}

    def _states(self, labelling: Labelling) -> list[LabelState]:
        states = label_states(self.shard.problem.rows, labelling.labels, labelling.scores, {})
        return [
            LabelState(position=state.position, reason=labelling.without[state.position].value)
            if state.position in labelling.without
            else state
            for state in states
        ]

    def _usage(self) -> Usage:
        tokens = sum(one.tokens for one in self.rewarded if one.reward is not None)
        return Usage(len(self.rewarded), tokens, tokens)

    def _progress(self, labelling: Labelling) -> Progress:
        usage = self._usage()
        return Progress(
            rows=len(self.shard.problem.rows),
            labeled=len(labelling.labels),
            inconsistencies=len(self.shard.problem.constraints.conflicts(labelling.labels)),
            prompts=usage.prompts,
            tokens_sent=usage.tokens_sent,
            tokens_computed=usage.tokens_computed,
        )

    def _summary(self, labelling: Labelling, reason: StopReason | None) -> dict[str, Any]:
        """Facts for the report."""
        reasons = Counter(labelling.without.values())
        known = [row for row in self.shard.problem.known if row in labelling.scores]
        return {
            "rows": len(self.shard.problem.rows),
            "stop_reason": None if reason is None else reason.value,
            "expected_counts": expected_counts(self.shard.problem, labelling.scores),
            "reward": {
                "model": self.model.learned,
                "ties": reasons[Unlabelled.TIE],
                "too_long": reasons[Unlabelled.LONG],
                "compare_nothing": reasons[Unlabelled.SAME],
                "known_rows": len(known),
                "known_right": labelling.agreeing,
            },
        }
