"""Makes the search's problem out of a shard's rows: text, rules, anchor and token budget."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from service.config import JobConfig, Method, Normalization, StrategyName
from service.entities import ClaimedShard, ShardRow
from service.errors import BackendRefused
from service.identifiers import Label, Row
from service.jobs.relations import compile_constraints
from service.jobs.template import Template
from service.ports import Scorer, Store
from service.search.folds import Folds
from service.search.paper import Paper
from service.search.problem import Parameters, Problem
from service.search.steps import Strategy
from service.search.zero_shot import ZeroShot

ANCHOR = 0  # the shard whose labels all later shards read
SPECIAL_TOKENS = 2  # room for what a server's tokenizer adds around a prompt


async def load_problem(store: Store, scorer: Scorer, claimed: ClaimedShard) -> Problem:
    """Read the shard's rows, and the anchor's labelled rows where there is one. Raises BackendError."""
    async with store.workbench() as unit:
        rows = await unit.rows.of(claimed.dataset_id, claimed.lease.shard)
        has_anchor = claimed.lease.shard != ANCHOR and claimed.config.method is not Method.ZERO_SHOT
        anchor = await unit.rows.of(claimed.dataset_id, ANCHOR) if has_anchor else []
        labels = await unit.labels.of_shard(claimed.lease.job_id, ANCHOR) if has_anchor else {}
    return await build_problem(scorer, claimed.config, rows, _anchor_prefix(claimed.config, anchor, labels))


async def build_problem(scorer: Scorer, config: JobConfig, rows: Sequence[ShardRow], prefix: str) -> Problem:
    """The problem of these rows behind this prefix, with the backend's own token counts."""
    task = config.task
    data = {row.position: orjson.loads(row.data) for row in rows}
    texts = _texts(config, data)
    tokens = await scorer.count_tokens(
        [f"{text} {max(task.labels, key=len)}{task.separator}" for text in texts.values()]
    )
    return Problem(
        texts=texts,
        labels=tuple(task.labels),
        separator=task.separator,
        constraint_list=tuple(compile_constraints(task.relations, task.labels, data)),
        prefix=prefix,
        demonstration_tokens=dict(zip(texts, tokens, strict=True)),
        budget_tokens=await _budget(scorer, prefix, tokens),
        parameters=search_parameters(config),
    )


def search_parameters(config: JobConfig) -> Parameters:
    """The search's numbers from the job's configuration."""
    search = config.search
    return Parameters(
        seed=search.seed,
        alpha=search.alpha,
        mean=search.normalization is Normalization.MEAN,
        seed_labels=search.seed_labels,
        initial_temperature=search.initial_temperature,
        final_temperature=search.final_temperature,
        cooling=search.cooling,
        draws_per_row=search.draws_per_row,
        repair_rounds=search.repair_rounds,
        folds=search.folds,
        restarts=search.restarts,
        initial_rows=search.initial_rows,
    )


def strategy_of(config: JobConfig) -> Strategy:
    """The strategy the configuration asks for."""
    if config.method is Method.ZERO_SHOT:
        return ZeroShot()
    match config.search.strategy:
        case StrategyName.FOLDS:
            return Folds()
        case StrategyName.PAPER:
            return Paper()


def _anchor_prefix(config: JobConfig, anchor: Sequence[ShardRow], labels: Mapping[Row, Label]) -> str:
    """The anchor's labelled rows as demonstrations: the same text for every later shard."""
    texts = _texts(config, {row.position: orjson.loads(row.data) for row in anchor if row.position in labels})
    problem = Problem(texts=texts, labels=tuple(config.task.labels), separator=config.task.separator)
    return problem.demonstrations(texts, labels)


def _texts(config: JobConfig, rows: Mapping[Row, Mapping[str, Any]]) -> dict[Row, str]:
    template = Template(config.task.template)
    return {position: template.render(row) for position, row in rows.items()}


async def _budget(scorer: Scorer, prefix: str, tokens: Sequence[int]) -> int | None:
    """Tokens left for demonstrations beside the prefix and the longest row; none known, none set.

    Raises BackendRefused where not even the longest row fits behind the prefix.
    """
    context = (await scorer.probe()).context_tokens
    if context is None:
        return None
    [used] = await scorer.count_tokens([prefix]) if prefix else [0]
    longest = max(tokens, default=0)
    budget = context - SPECIAL_TOKENS - used - longest
    if budget < 0:
        raise BackendRefused(
            f"a row of {longest} tokens does not fit the context of {context} tokens behind {used} tokens of anchor"
        )
    return budget
