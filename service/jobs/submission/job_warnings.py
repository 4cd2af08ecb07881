"""Composes the warnings about a new job, which its estimate shows and the job stores."""

from collections import Counter
from collections.abc import Iterator

from service.config import JobConfig, SearchConfig, Task
from service.identifiers import Label
from service.jobs.checks.survey import Survey
from service.jobs.checks.template_habits import template_habits
from service.jobs.submission.preparation import Preparation
from service.jobs.task.gold import unmatched_warning
from service.jobs.task.problem import ANCHOR
from service.jobs.task.satisfiability import relation_warnings
from service.jobs.task.shares import decided_by_shares, unmet_by_relations
from service.relations.relation import RelationCount
from service.search.state.objective import Objective
from service.search.strategies.registry import Method, StrategyName

_READ_BY = {
    "batch_rows": (StrategyName.ITERATIVE,),
    "epochs": (StrategyName.SCALABLE, StrategyName.ITERATIVE),
    "learning_rate": (StrategyName.SCALABLE, StrategyName.ITERATIVE),
}
_NEW = SearchConfig()
LONG_ROW_SHARE = 10  # a row this many times as long as the median is worth a warning


def warnings_of(prepared: Preparation) -> tuple[str, ...]:
    """All warnings about a job, as sentences. Call it in a thread, since it computes over all rows."""
    return (
        *(f"about the data set: {assumption}" for assumption in prepared.survey.assumptions),
        *_relation_warnings(prepared.survey, prepared.config),
        *relation_warnings(prepared.survey.satisfiability, prepared.config.task, prepared.survey.lines),
        *_unread_warnings(prepared.config),
        *(_text_warnings(prepared.survey, prepared.config.task) if prepared.lengths is not None else ()),
        *_known_warnings(prepared),
        *unmatched_warning(prepared.config.task, prepared.survey.unmatched_gold, prepared.survey.gold_rows),
        *unmet_by_relations(prepared.config.task, prepared.survey.relations, prepared.survey.rows),
        *decided_by_shares(prepared.config.task, prepared.survey.known, prepared.survey.rows),
        *_length_warnings(prepared),
        *prepared.label_warnings,
        *(f"about the model: {advice}" for advice in prepared.advice),
    )


def _relation_warnings(survey: Survey, config: JobConfig) -> Iterator[str]:
    alone = sum(1 for size in Counter(survey.groups).values() if size == 1)
    if not config.task.relations:
        if config.method.searches and config.search.raised is Objective.UTILITY:
            yield "there are no relations: under objective 'utility' nothing keeps all labels from becoming one"
    elif alone:
        yield f"{alone} rows have no related row"
    if survey.rows_lacking_their_twin:
        yield f"{survey.rows_lacking_their_twin} rows of an antisymmetric relation lack their swapped twin"
    for number, found in enumerate(survey.relations):
        yield from _count_warnings(number, found, config.task)


def _count_warnings(number: int, found: RelationCount, task: Task) -> Iterator[str]:
    """Warnings about one relation, by the rows that it ties and those that it passes over."""
    relation = task.relations[number]
    name, columns = f"the relation {found.kind} (relations.{number})", " or ".join(map(repr, relation.columns))
    if not found.constraints:
        yield f"{name} ties no rows"
    if found.rows_left_blank:
        yield f"{name} leaves out {found.rows_left_blank} rows in which {columns} is blank: they have no group"
    if found.rows_said_missing > 1:
        yield (
            f"{name} ties {found.rows_said_missing} rows in which {columns} is the text NA, null or the like; "
            "if nothing is there, leave these cells blank: such rows have no group"
        )
    if found.groups_of_one:
        label = relation.label or task.labels[0]
        yield f"{name} has {found.groups_of_one} groups of one: it gives each of them the label {label!r}"
    if found.rows_related_to_themselves:
        yield f"{name} leaves out {found.rows_related_to_themselves} rows related to themselves"


def _unread_warnings(config: JobConfig) -> Iterator[str]:
    """Warnings about parameters that were changed and that this method or strategy does not read."""
    search = config.search
    if config.method is not Method.ICM and search.strategy is not _NEW.strategy:
        yield f"search.strategy has no effect with method {config.method.value!r}: it is for 'icm'"
    for name, strategies in _READ_BY.items():
        if search.strategy not in strategies and getattr(search, name) != getattr(_NEW, name):
            able = " and ".join(repr(each.value) for each in strategies)
            yield f"search.{name} has no effect with strategy {search.strategy.value!r}: it is for {able}"


def known_by_label(survey: Survey, task: Task) -> dict[str, int]:
    """The number of known rows by label; empty if the task has no `known_field`."""
    rows = Counter(survey.known.values())
    return {name: rows[Label(number)] for number, name in enumerate(task.labels)} if task.known_field else {}


def _known_warnings(prepared: Preparation) -> Iterator[str]:
    survey, plan = prepared.survey, prepared.plan
    for name, rows in known_by_label(survey, prepared.config.task).items():
        if not rows:
            yield f"no known row has the label {name!r}: the known rows say nothing of it"
    outside = sum(plan.shard_of_row[row] != ANCHOR for row in survey.known)
    if outside and prepared.config.method.reads_anchor:
        yield (
            f"{outside} of {len(survey.known)} known rows have no room among the rows solved first and keep their "
            "labels, but other rows are not shown them; raise search.anchor_rows"
        )


def _text_warnings(survey: Survey, task: Task) -> Iterator[str]:
    """Warnings about texts: rows are never changed, so the user must decide about texts that contain the separator."""
    columns = [name for name in survey.columns if name not in (task.gold_field, task.known_field)]
    yield from template_habits(task.template, columns)
    yield from survey.said_missing.warnings()
    if survey.repeated_texts:
        yield f"{survey.repeated_texts} rows read exactly like an earlier row"
    if survey.texts_with_separator:
        yield f"{survey.texts_with_separator} rows contain the separator that stands between demonstrations"
    if survey.texts_with_demonstrations:
        yield (
            f"{survey.texts_with_demonstrations} rows contain a label followed by the separator and read like labelled "
            "demonstrations, in their own prompt and in those of other rows; choose a separator that no row contains"
        )


def _length_warnings(prepared: Preparation) -> Iterator[str]:
    lengths = () if prepared.lengths is None else prepared.lengths.demonstrations
    if not lengths:
        return
    median = sorted(lengths)[len(lengths) // 2]
    long = sum(1 for tokens in lengths if tokens > LONG_ROW_SHARE * median)
    if long:
        yield f"{long} rows are more than {LONG_ROW_SHARE} times as long as the median of {median} tokens"
