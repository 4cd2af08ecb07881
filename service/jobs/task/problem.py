"""Builds the search's problem from a shard's rows: texts, rules, the anchor's demonstrations and the token budget."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from service.config import JobConfig, Normalization
from service.errors import BackendRefused, BackendUnavailable
from service.identifiers import Label, Row
from service.jobs.task.known import KnownLabels
from service.jobs.task.relations import compile_constraints
from service.jobs.task.shares import shares_of_shard
from service.jobs.task.template import Template, tail_of
from service.ports.scoring import Scorer
from service.ports.store import Store
from service.records.jobs import ClaimedShard, ShardRow
from service.search.predictions.panel import Panel
from service.search.prompting.demonstrations import balanced_beginning, beginning_text
from service.search.state import checkpoint
from service.search.state.problem import Parameters, Problem
from service.search.state.steps import Strategy
from service.search.strategies.cost import Cost
from service.values import counted

ANCHOR = 0  # the shard whose labelled rows are the demonstrations of all later shards
ANCHOR_SHARE = 0.6  # share of the context that the anchor's demonstrations may fill
SPECIAL_TOKENS = 2  # reserved for the special tokens that a server's tokenizer adds to a prompt


@dataclass(frozen=True, slots=True)
class AnchorLabels:
    """The anchor's rows, the labels found for them, and the panel that labels later shards, if there is one."""

    rows: Sequence[ShardRow]
    labels: Mapping[Row, Label]
    panel: Panel | None = None


async def load_problem(store: Store, scorer: Scorer, claimed: ClaimedShard, left_out: Collection[Row] = ()) -> Problem:
    """Load a shard and its anchor, if there is one, and build its problem. Raises BackendError."""
    anchor = None
    async with store.worker_unit() as unit:
        rows = await unit.rows.of(claimed.dataset_id, claimed.lease.number)
        if claimed.lease.number != ANCHOR and claimed.config.method.reads_anchor:
            saved = await unit.work.checkpoint(claimed.lease.job_id, ANCHOR)
            anchor = AnchorLabels(
                await unit.rows.of(claimed.dataset_id, ANCHOR),
                await unit.labels.of_shard(claimed.lease.job_id, ANCHOR),
                None if saved is None else checkpoint.panel_of(orjson.loads(saved)),
            )
    return await build_problem(scorer, claimed.config, rows, anchor, job_rows=claimed.job_rows, left_out=left_out)


async def build_problem(
    scorer: Scorer,
    config: JobConfig,
    rows: Sequence[ShardRow],
    anchor: AnchorLabels | None = None,
    *,
    job_rows: int | None = None,
    left_out: Collection[Row] = (),
) -> Problem:
    """Build the problem of these rows behind the anchor's labelled rows, with the backend's token counts.

    All later shards begin with the same demonstrations: those of the anchor's panel, if it has one. A shard with
    longer rows drops the last of them. `job_rows` is the number of rows of the whole job, by default of these
    rows; the rows `left_out` get no label. Raises BackendError.
    """
    room = await _room(scorer)
    own = await _without_anchor(scorer, config, rows, left_out)
    own = replace(own, shares=shares_of_shard(config.task, own.known, len(own.texts), job_rows or len(rows)))
    longest = max(own.demonstration_tokens.values(), default=0)
    left = None if room is None else room - longest
    if left is not None and left < 0:
        raise BackendRefused(
            f"a row of {counted(longest, 'token')} does not fit the {counted(room or 0, 'token')} that a prompt may "
            "have"
        )
    own = replace(own, budget_tokens=left)
    if anchor is None or not anchor.labels:
        return own
    before = replace(await _without_anchor(scorer, config, anchor.rows), budget_tokens=left)
    if anchor.panel is not None:
        return _behind_panel(own, before, anchor.panel)
    if left is not None and room is not None:
        before = replace(before, budget_tokens=min(left, int(ANCHOR_SHARE * room)))
    return _behind_anchor(own, before, anchor.labels, 1 + config.search.second_opinions)


def _behind_panel(own: Problem, before: Problem, panel: Panel) -> Problem:
    """The problem with the text of each member's demonstrations."""
    prefixes = tuple(beginning_text(before, member.demonstrations) for member in panel.members)
    return replace(own, panel=panel, panel_prefixes=prefixes)


def _behind_anchor(own: Problem, before: Problem, labels: Mapping[Row, Label], arrangements: int) -> Problem:
    """The problem behind as many of the anchor's rows as fit, in several orders."""
    shown = balanced_beginning(before, labels, before.random("anchor"))
    prefix, *others = _arrangements(before, shown, labels, arrangements)
    budget = None if own.budget_tokens is None else own.budget_tokens - before.tokens(shown)
    return replace(own, prefix=prefix, other_prefixes=tuple(others), budget_tokens=budget)


def _arrangements(problem: Problem, shown: Sequence[Row], labels: Mapping[Row, Label], count: int) -> list[str]:
    """The texts of the demonstrations in `count` orders, which are the same for every shard."""
    orders = [shown, *(problem.random("arrangement", n).sample(shown, len(shown)) for n in range(1, count))]
    return [problem.demonstrations(order, labels) for order in orders]


async def _without_anchor(
    scorer: Scorer, config: JobConfig, rows: Sequence[ShardRow], left_out: Collection[Row] = ()
) -> Problem:
    """The problem of these rows, except those left out, without anchor and budget.

    It renders and counts them although the submission did: that was in another process, which estimates the tokens of
    large data sets. The scorer keeps recent tokens, so later shards do not have the anchor's rows counted again.
    """
    task = config.task
    data = {row.position: orjson.loads(row.data) for row in rows}
    template = Template(task.template)
    kept = {position: fields for position, fields in data.items() if position not in left_out}
    texts = {position: template.render(fields) for position, fields in kept.items()}
    tokens = await scorer.count_tokens([text + tail_of(task) for text in texts.values()])
    constraints = compile_constraints(task.relations, task.labels, data, id_field=task.id_field)
    return Problem(
        texts=texts,
        labels=tuple(task.labels),
        separator=task.separator,
        constraint_list=tuple(left for each in constraints if (left := each.without(left_out)) is not None),
        demonstration_tokens=dict(zip(texts, tokens, strict=True)),
        max_demonstrations=config.search.max_demonstrations,
        parameters=search_parameters(config),
        known=KnownLabels(task).of_rows(kept),
    )


async def _room(scorer: Scorer) -> int | None:
    """The tokens that a prompt may have; None if unknown. Raises BackendUnavailable if the backend is unreachable."""
    info = await scorer.probe()
    if info.context_tokens is None and not info.reachable:
        raise BackendUnavailable("; ".join(info.problems))
    return None if info.context_tokens is None else info.context_tokens - SPECIAL_TOKENS


def search_parameters(config: JobConfig) -> Parameters:
    """The search's parameters from the job's configuration, where most of them have the same names."""
    search = config.search
    own: dict[str, Any] = {
        "mean": search.normalization is Normalization.MEAN,
        "exact_scores": search.exact_confidence,
    }
    same = {field.name: getattr(search, field.name) for field in fields(Parameters) if field.name not in own}
    return Parameters(**{**same, **own})


def strategy_of(config: JobConfig) -> Strategy:
    """The search or baseline that the configuration names."""
    if config.method.baseline is not None:
        return config.method.baseline.build(search_parameters(config))
    return config.search.strategy.approach.searches[config.search.raised]


def cost_of(config: JobConfig) -> Cost:
    """The rule that predicts the cost of the configuration's method and strategy."""
    return (config.method.baseline or config.search.strategy.approach).cost
