"""Runs the search of one shard: loads or begins it, scores its requests, and saves, until it ends or must stop."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import orjson
from opentelemetry.trace import Span

from service.errors import CheckpointTooNew, TrainingFailed
from service.identifiers import Label, Row
from service.jobs.running.allowance import Allowance
from service.jobs.running.answer_cache import CachedScorer, Memory
from service.jobs.running.backend import check_backend
from service.jobs.running.expected_counts import expected_counts
from service.jobs.running.isolation import RowsUnscorable, TooManyUnscorable
from service.jobs.running.left_out import leave_out, left_out_warning, rows_left_out
from service.jobs.running.search_pace import PaceOfSearch
from service.jobs.running.trained_answers import CachedTrainer, RecalledTraining
from service.jobs.running.training_pace import PaceOfTrainings
from service.jobs.task.problem import load_problem, strategy_of
from service.ports.observers import UNOBSERVED, WorkObserver
from service.ports.scoring import Scorer
from service.ports.store import Store
from service.ports.trained_scores import TrainedScorer
from service.records.access import NO_QUOTAS, Quotas
from service.records.jobs import ClaimedShard, Progress
from service.records.labels import LabelState, LabelStatus
from service.records.work import WorkOutcome, WorkStatus
from service.search.engine import Search
from service.search.predictions.prompt_tree import PromptTree
from service.search.predictions.scores import Scores, margin
from service.search.predictions.training import Trainings
from service.search.prompting.demonstrations import keep_fitting
from service.search.state import checkpoint
from service.search.state.steps import Answer, Phase, Request, State, StopReason
from service.spans import span

UNCERTAIN_MARGIN_NATS = 0.5  # below this the runner-up has more than 3/8 of the two labels' probability


async def run_shard(  # noqa: PLR0913 - the caller names each of them
    store: Store,
    scorer: Scorer,
    claimed: ClaimedShard,
    *,
    checkpoint_seconds: float,
    stop: asyncio.Event,
    memory: Memory | None = None,
    trainer: TrainedScorer | None = None,
    observer: WorkObserver = UNOBSERVED,
    quotas: Quotas = NO_QUOTAS,
) -> WorkOutcome:
    """Search for the shard's labels until the search ends or `stop` is set; resumes a paused job.

    If the backend cannot score some rows, the search begins again without them, and reuses the stored answers. The
    search's state depends on stored answers alone, all of them from the backend that the job began with.

    Raises BackendError, CheckpointTooNew, LeaseLost and StorageUnavailable; TrainingFailed if a training for the search
    fails; QuotaExhausted, after saving everything, if the project has no tokens left today.
    """
    allowance = Allowance(store, claimed, quotas)
    if claimed.paused:
        await allowance.check_daily_quota()
    backend = await check_backend(store, scorer, claimed)
    memory = memory or Memory(store)
    cached_scorer = CachedScorer(
        store, scorer, claimed, backend, memory=memory, store_seconds=checkpoint_seconds, observer=observer
    )
    state = _stored_state(claimed)
    while True:
        left_out = await rows_left_out(store, claimed)
        cached_scorer.left_out = len(left_out)
        problem = await load_problem(store, scorer, claimed, left_out)
        search = Search(problem, strategy_of(claimed.config), state)
        labelled = claimed.progress.labeled
        run = _Run(store, claimed, search, cached_scorer, trainer, allowance, observer, left_out, labelled)
        cached_scorer.pace = run.search_pace
        try:
            limited = await run.search_until_stopped(checkpoint_seconds, stop)
        except RowsUnscorable as error:
            state = State()
            await leave_out(store, claimed, error.reasons, state, run.progress())
        else:
            break
    if stop.is_set() and run.search.state.phase is not Phase.DONE:
        await run.save()
        return WorkOutcome.STOPPED
    await run.finish(StopReason.LIMIT if limited else run.search.state.stop)
    return WorkOutcome.SUCCEEDED


def _stored_state(claimed: ClaimedShard) -> State | None:
    """The state in the checkpoint; None if it is missing, or if an older release wrote it in a form no longer read.

    Raises CheckpointTooNew if a later release wrote it: a new search would overwrite that one's results.
    """
    if claimed.checkpoint is None:
        return None
    try:
        return checkpoint.from_json(orjson.loads(claimed.checkpoint))
    except checkpoint.LaterVersion as error:
        message = f"a later release has worked on shard {claimed.lease.number}, and this one cannot go on: {error}"
        raise CheckpointTooNew(message) from error
    except checkpoint.OtherVersion:
        return None


@dataclass
class _Run:
    """A running search, with the scorers that answer its requests and the labels stored so far."""

    store: Store
    claimed: ClaimedShard
    search: Search
    cached_scorer: CachedScorer
    trainer: TrainedScorer | None
    allowance: Allowance
    observer: WorkObserver
    left_out: Mapping[Row, str]  # rows without scores, with the reason
    labelled: int  # rows with a label at the last save
    stored: dict[Row, LabelState] = field(default_factory=dict)

    @cached_property
    def cached_trainer(self) -> CachedTrainer:
        """Answers requests for trainings. Raises TrainingFailed if this worker cannot train."""
        if self.trainer is None:
            raise TrainingFailed(
                f"the strategy trains a language model, and this worker knows of none that it may train for the model "
                f"{self.claimed.config.model!r}: ICM_TRAINING__BASES names its folder or hub name"
            )
        return CachedTrainer(self.cached_scorer, self.trainer, self.claimed, self._training_ended)

    @cached_property
    def training_pace(self) -> PaceOfTrainings | None:
        """Measures the speed of trainings; None if the strategy does not train."""
        config = self.claimed.config
        left = config.search.strategy.approach.tokens_left if config.trains else None
        return None if left is None else PaceOfTrainings(self.store, self.claimed, self.search, left)

    @cached_property
    def search_pace(self) -> PaceOfSearch | None:
        """Measures what the search still asks; None if the strategy trains."""
        forecast = self.claimed.config.forecast
        return None if forecast is None else PaceOfSearch(self.search, forecast)

    async def _training_ended(self, training: RecalledTraining) -> None:
        """Record a finished training while others of its round still run. Raises LeaseLost and StorageUnavailable."""
        if self.training_pace is not None:
            self.training_pace.ended(training)
        await self.save()

    async def search_until_stopped(self, checkpoint_seconds: float, stop: asyncio.Event) -> bool:
        """Search until the end, a limit or a stop, saving at intervals; returns True if a limit was reached.

        Raises RowsUnscorable for a few rows that must be left out, and the backend's error for more.
        """
        try:
            return await self._search_loop(checkpoint_seconds, stop)
        except TooManyUnscorable as many:
            await self._find_faulty_rows()
            raise many.failure from many

    async def _find_faulty_rows(self) -> None:
        """Score each row alone, since one demonstration may make many prompts fail. Raises RowsUnscorable for a few."""
        queries = tuple(map(self.search.problem.query, self.search.problem.rows))
        try:
            await self.cached_scorer.answer(await self.cached_scorer.recall([PromptTree("", queries)]))
        except TooManyUnscorable as many:
            raise many.failure from many

    async def _search_loop(self, checkpoint_seconds: float, stop: asyncio.Event) -> bool:
        saved = time.monotonic()
        while (request := self.search.ask()) is not None and not stop.is_set():
            with span("search.step", {"icm.phase": self.search.state.phase.value}) as step:
                answer = await self._answer(request, stop, step)
                if answer is None:
                    return not stop.is_set()
                before = self.search.state
                can_save = await asyncio.to_thread(self.search.tell, answer)
                if self.search_pace is not None:
                    self.search_pace.note_answers(before)
            if can_save and time.monotonic() - saved >= checkpoint_seconds:
                await self.save()
                saved = time.monotonic()
        return False

    async def _answer(self, request: Request | Trainings, stop: asyncio.Event, step: Span) -> Answer | None:
        """The answers to a request; None if the job has reached a limit, or if `stop` was set meanwhile.

        Raises QuotaExhausted if the project has no tokens left today.
        """
        if isinstance(request, Trainings):
            step.set_attribute("icm.trainings", len(request))
            trainings = await self.cached_trainer.recall(request)
            if trainings.open and not await self.allowance.permits(self.save):
                return None
            if self.training_pace is not None:
                await self.training_pace.begin(trainings.trainings)
            return await self.cached_trainer.answer(trainings, stop)
        recalled = await self.cached_scorer.recall(request)
        step.set_attribute("icm.prompts", recalled.request.prompts)
        if recalled.open and not await self.allowance.permits(self.save):  # stored answers cost no tokens
            return None
        return await self.cached_scorer.answer(recalled)

    async def save(self) -> None:
        """Store the search's state, the changed labels and the cost in one transaction."""
        state = self.search.state
        states = label_states(self.search.problem.rows, state.labels, state.scores, state.raw_scores)
        changed = [new for new in states if self.stored.get(new.position) != new]
        began = time.monotonic()
        async with self.store.worker_unit() as unit:
            await unit.labels.write(self.claimed.lease, changed)
            measure = self.training_pace or self.search_pace
            if measure is not None and (pace := measure.measured) is not None:
                await unit.shards.set_pace(self.claimed.lease, pace)
            await unit.shards.save(
                self.claimed.lease, checkpoint=orjson.dumps(checkpoint.to_json(state)), progress=self.progress()
            )
            await unit.shards.spend(
                self.claimed.lease, self.cached_scorer.usage, remembered=self.cached_scorer.remembered
            )
        self.stored.update({new.position: new for new in changed})
        more = len(state.labels) - self.labelled
        self.observer.saved(time.monotonic() - began, rows_labelled=max(more, 0))
        self.labelled += more

    async def finish(self, reason: StopReason | None) -> None:
        """Store the last labels and end the shard."""
        await self.save()
        async with self.store.worker_unit() as unit:
            if self.left_out:
                rows = await unit.rows.of(self.claimed.dataset_id, self.claimed.lease.number)
                await unit.work.warn(
                    self.claimed.lease, left_out_warning(self.left_out, rows, self.claimed.config.task)
                )
            summary = self.summary(reason)
            await unit.shards.summarize(self.claimed.lease, summary)
            await unit.work.finish(self.claimed.lease, WorkStatus.SUCCEEDED, summary=summary)

    def progress(self) -> Progress:
        """The shard's progress and cost so far."""
        state, problem, usage = self.search.state, self.search.problem, self.cached_scorer.usage
        utility = state.facts.get("utility", state.best.utility if state.best else None)
        return Progress(
            rows=len(problem.rows),
            labeled=len(state.labels),
            iterations=state.iterations,
            accepted=state.accepted,
            utility=utility if isinstance(utility, float) else None,
            inconsistencies=len(problem.constraints.conflicts(state.labels)),
            prompts=usage.prompts,
            tokens_sent=usage.tokens_sent,
            tokens_computed=usage.tokens_computed,
        )

    def summary(self, reason: StopReason | None) -> Mapping[str, Any]:
        """The search's facts for the report."""
        problem, labels = self.search.problem, self.search.state.labels
        shown = keep_fitting(problem, labels, problem.random("fitting"))
        return {
            **self.search.state.facts,
            "rows": len(problem.rows),
            "rows_left_out": len(self.left_out),
            "demonstrations_dropped": len(labels) - len(shown),
            "stop_reason": None if reason is None else reason.value,
            "tokens_modelled": self.cached_scorer.usage.modelled,
            "prompts_remembered": self.cached_scorer.remembered,
            "unproven_redraws": self.search.state.unproven,
            "expected_counts": expected_counts(problem, self.search.state.scores),
        }


def label_states(rows: Sequence[Row], labels: Mapping[Row, Label], scores: Scores, raw: Scores) -> list[LabelState]:
    """The label state of each row: label, probability over the label set and margin; None for an unknown value."""
    return [_label_state(row, labels.get(row), scores, raw) for row in rows]


def _label_state(row: Row, label: Label | None, scores: Scores, raw: Scores) -> LabelState:
    if label is None:
        return LabelState(position=row)
    raw_probability = math.exp(raw[row][label]) if row in raw else None
    state = LabelState(position=row, label=label, status=LabelStatus.UNCERTAIN, raw_probability=raw_probability)
    if row not in scores:
        return state
    nats = margin(scores[row], label)
    status = LabelStatus.LABELED if nats >= UNCERTAIN_MARGIN_NATS else LabelStatus.UNCERTAIN
    return replace(state, confidence=math.exp(scores[row][label]), margin=nats, status=status)
