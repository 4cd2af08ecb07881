"""Estimates the cost of a job and previews its relations and prompts, without storing anything."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from anyio import to_thread

from service.config import JobConfig
from service.identifiers import Label, Row
from service.jobs.checks.earlier_results import without_earlier_results
from service.jobs.checks.rows import RowSource
from service.jobs.checks.survey import Survey
from service.jobs.submission.cost import Prediction, predict_rewards, predict_usage
from service.jobs.submission.job_warnings import known_by_label, warnings_of
from service.jobs.submission.preparation import Preparation, prepare
from service.ports.scoring import Scorers
from service.records.rewards import RewardModel
from service.relations.relation import RelationCount
from service.search.predictions.prompt_tree import Usage
from service.search.strategies.cost_simulation import never_cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationPreview:
    """The effect of the relations on the data set."""

    groups: int
    largest_group: int
    rows_without_related_rows: int
    rows_lacking_their_twin: int  # rows of antisymmetric relations without their twin
    by_relation: tuple[RelationCount, ...]  # in the order of the task


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The predicted cost of a job, with a preview of its relations and a sample prompt."""

    rows: int
    groups: int
    shards: int
    usage: Usage
    most: Usage | None  # about that of the longest search; None where the strategy's rule has no bound
    sample_prompt: str
    relations: RelationPreview
    known: Mapping[str, int]  # number of known rows by label; empty if the task has no `known_field`
    warnings: tuple[str, ...]


async def estimate(
    config: JobConfig,
    source: RowSource,
    scorers: Scorers,
    *,
    reward: RewardModel | None = None,
    check_wanted: Callable[[], None] = never_cancelled,
) -> Estimate:
    """Check the data set as for a job and predict its cost; `check_wanted` may raise an error to end the prediction.

    `reward` is the reward model that labels the rows, where the configuration names one.

    Raises InvalidConfig, InvalidDataset, PayloadTooLarge, UnsupportedFormat, ModelNotFound and BackendError.
    """
    source = without_earlier_results(source, config.earlier_results)
    prepared = await prepare(config, source, scorers, reward)
    return await to_thread.run_sync(lambda: _estimate(prepared, check_wanted))


def _estimate(prepared: Preparation, check_wanted: Callable[[], None]) -> Estimate:
    preview, predicted = _preview(prepared.survey), _predicted(prepared, check_wanted)
    return Estimate(
        rows=prepared.survey.rows,
        groups=preview.groups,
        shards=len(prepared.plan.shards),
        usage=predicted.usage,
        most=predicted.most,
        sample_prompt=_sample_prompt(prepared),
        relations=preview,
        known=known_by_label(prepared.survey, prepared.config.task),
        warnings=warnings_of(prepared),
    )


def _predicted(prepared: Preparation, check_wanted: Callable[[], None]) -> Prediction:
    survey, lengths = prepared.survey, prepared.lengths
    if prepared.rewarded is not None:
        usage = predict_rewards(survey, prepared.rewarded.model)
        return Prediction(usage=usage, most=usage)
    assert lengths is not None  # noqa: S101 - else a reward model labels
    return predict_usage(
        prepared.config, prepared.plan, survey.groups, lengths, survey.known, check_wanted=check_wanted
    )


def _preview(survey: Survey) -> RelationPreview:
    sizes = Counter(survey.groups)
    return RelationPreview(
        groups=len(sizes),
        largest_group=max(sizes.values()),
        rows_without_related_rows=sum(1 for size in sizes.values() if size == 1),
        rows_lacking_their_twin=survey.rows_lacking_their_twin,
        by_relation=survey.relations,
    )


def _sample_prompt(prepared: Preparation) -> str:
    """A prompt for the first row with the second as a demonstration: with its known label, else with an example."""
    survey, task = prepared.survey, prepared.config.task
    if prepared.rewarded is not None:
        return prepared.rewarded.sample
    first, *others = survey.first_texts
    labels = (task.labels[survey.known.get(Row(row), Label(0))] for row in range(1, len(survey.first_texts)))
    return "".join(f"{text} {label}{task.separator}" for text, label in zip(others, labels, strict=True)) + first
