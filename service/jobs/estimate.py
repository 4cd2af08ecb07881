"""Says what a job would cost and what its relations make of the data set; stores nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from anyio import to_thread

from service.config import JobConfig, Task
from service.identifiers import Label
from service.jobs.cost import predict_usage
from service.jobs.preparation import Preparation, prepare
from service.jobs.problem import ANCHOR
from service.jobs.related_rows import RelationCount
from service.jobs.rows import RowSource
from service.jobs.sharding import ANCHORED
from service.jobs.shares import unmet_by_relations
from service.jobs.survey import Survey
from service.scoring_ports import Scorers
from service.search.prompt_tree import Usage

LONG_ROW_SHARE = 10  # a row this many times as long as the median is worth a warning


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationPreview:
    """What the relations make of the data set."""

    groups: int
    largest_group: int
    rows_without_related_rows: int
    rows_lacking_their_twin: int  # rows of antisymmetric relations whose swapped twin is missing
    by_relation: tuple[RelationCount, ...]  # in the order of the task


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a job would cost."""

    rows: int
    groups: int
    shards: int
    usage: Usage
    sample_prompt: str
    relations: RelationPreview
    known: Mapping[str, int]  # known rows of each label; empty where the task names no column for them
    warnings: tuple[str, ...]


async def estimate(config: JobConfig, source: RowSource, scorers: Scorers, *, max_reported_faults: int) -> Estimate:
    """Check the data set as for a job and predict its cost.

    Raises InvalidDataset, PayloadTooLarge, UnsupportedFormat, ModelNotFound and BackendError.
    """
    prepared = await prepare(config, source, scorers, max_reported_faults=max_reported_faults)
    return await to_thread.run_sync(lambda: _estimate(prepared))


def _estimate(prepared: Preparation) -> Estimate:
    preview = _preview(prepared.survey)
    return Estimate(
        rows=prepared.survey.rows,
        groups=preview.groups,
        shards=len(prepared.plan.shards),
        usage=predict_usage(prepared.config, prepared.plan, prepared.survey.groups, prepared.lengths),
        sample_prompt=_sample_prompt(prepared.survey, prepared.config.task),
        relations=preview,
        known=_known(prepared.survey, prepared.config.task),
        warnings=tuple(_warnings(prepared, preview)),
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


def _known(survey: Survey, task: Task) -> dict[str, int]:
    """How many known rows there are of each label."""
    rows = Counter(survey.known.values())
    return {name: rows[Label(number)] for number, name in enumerate(task.labels)} if task.known_field else {}


def _sample_prompt(survey: Survey, task: Task) -> str:
    """The first row behind the second as a demonstration; the demonstration's label only shows the form."""
    first, *others = survey.first_texts
    return "".join(f"{text} {task.labels[0]}{task.separator}" for text in others) + first


def _warnings(prepared: Preparation, preview: RelationPreview) -> list[str]:
    survey, task = prepared.survey, prepared.config.task
    warnings = []
    if not task.relations:
        warnings.append("there are no relations: nothing but coherence keeps all labels from becoming one")
    elif preview.rows_without_related_rows:
        warnings.append(f"{preview.rows_without_related_rows} rows have no related row")
    if preview.rows_lacking_their_twin:
        warnings.append(f"{preview.rows_lacking_their_twin} rows of an antisymmetric relation lack their swapped twin")
    for number, found in enumerate(preview.by_relation):
        name = f"the relation {found.kind} (relations.{number})"
        if not found.constraints:
            warnings.append(f"{name} ties no rows")
        if found.rows_related_to_themselves:
            warnings.append(f"{name} leaves out {found.rows_related_to_themselves} rows related to themselves")
    if survey.repeated_texts:
        warnings.append(f"{survey.repeated_texts} rows read exactly like an earlier row")
    warnings += _separator_warnings(survey)
    warnings += _known_warnings(prepared)
    warnings += unmet_by_relations(task, survey.relations, survey.rows)
    median = sorted(prepared.lengths.demonstrations)[survey.rows // 2]
    long = sum(1 for tokens in prepared.lengths.demonstrations if tokens > LONG_ROW_SHARE * median)
    if long:
        warnings.append(f"{long} rows are more than {LONG_ROW_SHARE} times as long as the median of {median} tokens")
    warnings += [f"about the model: {advice}" for advice in prepared.advice]
    return warnings


def _known_warnings(prepared: Preparation) -> Iterator[str]:
    survey, plan = prepared.survey, prepared.plan
    for name, rows in _known(survey, prepared.config.task).items():
        if not rows:
            yield f"no known row has the label {name!r}: the known rows say nothing of it"
    outside = sum(plan.shard_of_row[row] != ANCHOR for row in survey.known)
    if outside and prepared.config.method in ANCHORED:
        yield (
            f"{outside} of {len(survey.known)} known rows have no room among the rows solved first and keep their "
            "labels, but other rows are not shown them; raise search.anchor_rows"
        )


def _separator_warnings(survey: Survey) -> Iterator[str]:
    """Rows are never changed, so one that holds the separator reads like several: that is for the user to decide."""
    if survey.texts_with_separator:
        yield f"{survey.texts_with_separator} rows contain the separator that stands between demonstrations"
    if survey.texts_with_demonstrations:
        yield (
            f"{survey.texts_with_demonstrations} rows contain a label followed by the separator and read like labelled "
            "demonstrations, in their own prompt and in those of other rows; choose a separator that no row contains"
        )
