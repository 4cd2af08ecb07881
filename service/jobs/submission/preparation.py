"""Checks a new job and its backend, counts tokens and plans the shards: the common part of submission and estimate."""

import asyncio
from dataclasses import dataclass

from anyio import to_thread

from service.config import JobConfig, Task
from service.errors import BackendRefused, BackendUnavailable
from service.jobs.checks.beginnings import common_beginning, shared_by_neighbours
from service.jobs.checks.endings import check_endings
from service.jobs.checks.label_words import try_labels
from service.jobs.checks.rows import FaultLog, RowSource
from service.jobs.checks.survey import Survey, survey_rows
from service.jobs.checks.trainings import check_trainings
from service.jobs.submission.cost import Lengths
from service.jobs.submission.sharding import ShardPlan, plan_shards
from service.jobs.submission.tokens import check_rows_fit, demonstration_tokens
from service.jobs.task.comparison import Comparer, comparison_of
from service.jobs.task.template import tail_of
from service.ports.scoring import Scorer, Scorers
from service.records.rewards import RewardModel
from service.records.scoring import BackendInfo

PROBE_SECONDS = 60.0  # longest wait of a request for the backend's probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewarded:
    """A job that a reward model labels: which one it is, and the two texts of the first row as it reads them."""

    model: RewardModel
    sample: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """A job that has passed all checks, with its token lengths and shards."""

    config: JobConfig
    survey: Survey
    lengths: Lengths | None  # of prompts; none where a reward model labels the rows
    plan: ShardPlan
    rewarded: Rewarded | None = None
    label_warnings: tuple[str, ...] = ()  # about labels and texts
    advice: tuple[str, ...] = ()  # how to make the backend faster or its scores steadier


def _prepare_rewarded(config: JobConfig, source: RowSource, model: RewardModel) -> Preparation:
    """Check the data set and plan the shards of a job that a reward model labels; this needs no backend."""
    survey = survey_rows(source, config.task)
    rewarded = Rewarded(model=model, sample=_sample_texts(config.task, source))
    plan = plan_shards(config, survey.groups, survey.known)
    return Preparation(config=config, survey=survey, lengths=None, plan=plan, rewarded=rewarded)


def _sample_texts(task: Task, source: RowSource) -> str:
    """Both texts of the first row that compares any, as a reward model reads them."""
    comparison = comparison_of(task)
    if comparison is None:
        return ""
    comparer = Comparer(task, comparison)
    compared = (comparer.of(row.fields) for row in source.rows(FaultLog(0)))
    return "\n\n".join(next((found.texts for found in compared if found is not None), ()))


async def prepare(
    config: JobConfig, source: RowSource, scorers: Scorers, reward: RewardModel | None = None
) -> Preparation:
    """Check the data set, try the labels and count tokens by the backend, and plan the shards.

    `reward` is the reward model that labels the rows, where the configuration names one.

    Raises InvalidConfig where its strategy cannot train here, InvalidDataset, PayloadTooLarge, UnsupportedFormat,
    ModelNotFound and BackendError.
    """
    if reward is not None:
        return await to_thread.run_sync(_prepare_rewarded, config, source, reward)
    scorer = scorers.get(config.model)
    survey = await to_thread.run_sync(lambda: survey_rows(source, config.task))
    await check_trainings(config, survey.groups, scorers.trainer(config.model))
    backend = await _fit_backend(scorer, config)
    context_tokens = _context_tokens(backend)
    faults = FaultLog()
    await check_endings(scorer, source, config.task, survey, faults)
    misread = await survey.special_names.check(scorer, backend.kind, config.task.template, faults)
    faults.raise_any()
    trial = await try_labels(scorer, config.task, survey)
    beginning, shared = await to_thread.run_sync(_beginnings, survey)
    lead, tail = await scorer.count_tokens([beginning, tail_of(config.task)])
    lengths = Lengths(
        demonstrations=await demonstration_tokens(scorer, source, config.task, survey, context_tokens),
        lead=lead,
        shared_beginnings=shared,
        tail=tail,
        context=context_tokens,
        prompts_per_query=trial.prompts_per_query,
        is_sure=trial.is_sure,
    )
    plan = await to_thread.run_sync(lambda: _fitting_plan(config, survey, lengths))
    return Preparation(
        config=config,
        survey=survey,
        lengths=lengths,
        plan=plan,
        label_warnings=(*trial.warnings, *misread),
        advice=backend.advice,
    )


def _beginnings(survey: Survey) -> tuple[str, float]:
    """The common prefix of the sample's texts, and the share of text that neighbours have in common.

    The share is the larger one of the user's order and of the sorted order.
    """
    shared = max(survey.shared_beginnings, shared_by_neighbours(sorted(survey.sample)))
    return common_beginning(survey.sample), shared


async def _fit_backend(scorer: Scorer, config: JobConfig) -> BackendInfo:
    """Probe the backend. Raises BackendRefused if it cannot score these labels, BackendUnavailable if it is down."""
    task = config.task
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            info = await scorer.probe(task.labels, all_spellings=task.all_spellings, separator=task.separator)
    except TimeoutError as error:
        raise BackendUnavailable(f"the model {config.model!r} gave no answer in {PROBE_SECONDS:.0f} seconds") from error
    if info.ready:
        return info
    reasons = "; ".join(info.problems) or "no reason given"
    if info.reachable:
        raise BackendRefused(f"the model {config.model!r} cannot score these labels: {reasons}")
    raise BackendUnavailable(f"the model {config.model!r} cannot be used just now: {reasons}")


def _context_tokens(backend: BackendInfo) -> int:
    """The number of tokens that the backend reads at once. Raises BackendRefused if it does not report that."""
    if backend.context_tokens is None:
        raise BackendRefused(f"the model {backend.name!r} does not report how many tokens it reads at once")
    return backend.context_tokens


def _fitting_plan(config: JobConfig, survey: Survey, lengths: Lengths) -> ShardPlan:
    check_rows_fit(survey, lengths.demonstrations, lengths.context)
    return plan_shards(config, survey.groups, survey.known)
