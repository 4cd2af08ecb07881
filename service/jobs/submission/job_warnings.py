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
from service.values import by_number, counted

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
        yield f"{counted(alone, 'row')} {by_number(alone, 'has', 'have')} no related row"
    if lacking := survey.rows_lacking_their_twin:
        words = by_number(lacking, "lacks its", "lack their")
        yield f"{counted(lacking, 'row')} of an antisymmetric relation {words} swapped twin"
    for number, found in enumerate(survey.relations):
        yield from _count_warnings(number, found, config.task)


def _count_warnings(number: int, found: RelationCount, task: Task) -> Iterator[str]:
    """Warnings about one relation, by the rows that it ties and those that it passes over."""
    relation = task.relations[number]
    name, columns = f"the relation {found.kind} (relations.{number})", " or ".join(map(repr, relation.columns))
    if not found.constraints:
        yield f"{name} ties no rows"
    if found.rows_left_blank:
        have = by_number(found.rows_left_blank, "it has", "they have")
        yield f"{name} leaves out {counted(found.rows_left_blank, 'row')} in which {columns} is blank: {have} no group"
    if found.rows_said_missing > 1:
        yield (
            f"{name} takes the text NA, null or the like for a value: {found.rows_said_missing} rows have it in "
            f"{columns}; if nothing is there, leave these cells blank: such rows have no group"
        )
    if alike := found.look_alikes:
        one, two = alike[0]
        yield (
            f"{name} keeps {counted(len(alike), 'group')} apart from {by_number(len(alike), 'one', 'others')} whose "
            f"{columns} differs only in spaces or case, such as {two!r} and {one!r}; write these cells alike if they "
            "mean the same group"
        )
    if found.groups_of_one:
        label = relation.label or task.labels[0]
        groups, each = counted(found.groups_of_one, "group"), by_number(found.groups_of_one, "it", "each of them")
        yield f"{name} has {groups} of one: it gives {each} the label {label!r}"
    if themselves := found.rows_related_to_themselves:
        own = by_number(themselves, "itself", "themselves")
        yield f"{name} leaves out {counted(themselves, 'row')} related to {own}"


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
        have, keep = by_number(outside, "has", "have"), by_number(outside, "keeps its label", "keep their labels")
        yield (
            f"{outside} of {counted(len(survey.known), 'known row')} {have} no room among the rows solved first and "
            f"{keep}, but other rows are not shown {by_number(outside, 'it', 'them')}; raise search.anchor_rows"
        )


def _text_warnings(survey: Survey, task: Task) -> Iterator[str]:
    """Warnings about texts: rows are never changed, so the user must decide about texts that contain the separator."""
    columns = [name for name in survey.columns if name not in (task.gold_field, task.known_field)]
    yield from template_habits(task.template, columns)
    yield from survey.said_missing.warnings()
    if rows := survey.repeated_texts:
        yield f"{counted(rows, 'row')} {by_number(rows, 'reads', 'read')} exactly like an earlier row"
    if rows := survey.texts_with_separator:
        contain = by_number(rows, "contains", "contain")
        yield f"{counted(rows, 'row')} {contain} the separator that stands between demonstrations"
    if rows := survey.texts_with_demonstrations:
        yield (
            f"{counted(rows, 'row')} {by_number(rows, 'contains', 'contain')} a label followed by the separator and "
            f"{by_number(rows, 'reads', 'read')} like labelled demonstrations, in "
            f"{by_number(rows, 'its', 'their')} own prompt and in those of other rows; choose a separator that no row "
            "contains"
        )


def _length_warnings(prepared: Preparation) -> Iterator[str]:
    lengths = () if prepared.lengths is None else prepared.lengths.demonstrations
    if not lengths:
        return
    median = sorted(lengths)[len(lengths) // 2]
    long = sum(1 for tokens in lengths if tokens > LONG_ROW_SHARE * median)
    if long:
        rows = f"{counted(long, 'row')} {by_number(long, 'is', 'are')}"
        yield f"{rows} more than {LONG_ROW_SHARE} times as long as the median of {counted(median, 'token')}"
