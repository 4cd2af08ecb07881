"""Predicts what a job will cost in tokens before it runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.config import JobConfig, Method, StrategyName
from service.jobs.problem import ANCHOR_SHARE, SPECIAL_TOKENS, search_parameters, strategy_of
from service.jobs.rehearsal import made_up_problem, rehearsed
from service.jobs.sharding import ANCHORED, ShardPlan
from service.search.prompt_tree import Usage
from service.search.schedule import draws

_DOUBTFUL_SHARE = 0.1  # of the rows behind an anchor, which are asked for again
_EVALUATIONS_PER_DRAW = 0.7  # leave-one-outs per draw: unchanged labels need none, repairs several


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long a data set is, in the backend's tokens."""

    demonstrations: Sequence[int]  # of each row with its label and the separator
    lead: int  # of what all texts begin with
    shared_beginnings: float  # share of the texts that the row before begins with, too
    tail: int  # of a label and the separator alone
    context: int  # that the backend reads at once


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one shard: their groups and lengths."""

    groups: list[int]
    tokens: list[int]


def predict_usage(config: JobConfig, plan: ShardPlan, groups: Sequence[int], lengths: Lengths) -> Usage:
    """Prompts, tokens sent and tokens computed, as if the server's prefix cache were ideal.

    The first shard is rehearsed; rows behind an anchor cost their own tokens once. Algorithm 1
    is too long for a rehearsal and follows a formula.
    """
    shards = [_Rows([], []) for _ in plan.shards]
    for shard, group, tokens in zip(plan.shard_of_row, groups, lengths.demonstrations, strict=True):
        shards[shard].groups.append(group)
        shards[shard].tokens.append(tokens)
    if config.method not in ANCHORED:
        return sum((_alone(config, rows, lengths) for rows in shards), Usage(modelled=True))
    prefix = min(sum(shards[0].tokens), int(ANCHOR_SHARE * (lengths.context - SPECIAL_TOKENS)))
    arrangements = 0 if len(shards) == 1 else 1 + config.search.second_opinions
    usage = _alone(config, shards[0], lengths) + Usage(0, 0, arrangements * prefix, modelled=True)
    return sum((_behind(config, rows, prefix, lengths) for rows in shards[1:]), usage)


def _is_annealing(config: JobConfig) -> bool:
    return config.method is Method.ICM and config.search.strategy is not StrategyName.FOLDS


def _alone(config: JobConfig, rows: _Rows, lengths: Lengths) -> Usage:
    """A shard that reads no anchor."""
    if _is_annealing(config):
        return _annealing(config, rows)
    budget = lengths.context - SPECIAL_TOKENS - max(rows.tokens)
    problem = made_up_problem(
        rows.groups, rows.tokens, len(config.task.labels), search_parameters(config), budget_tokens=budget
    )
    return rehearsed(strategy_of(config), problem, lead_tokens=lengths.lead, tail_tokens=lengths.tail)


def _annealing(config: JobConfig, rows: _Rows) -> Usage:
    """A leave-one-out over the rows labelled so far for most of the draws: N L (log2 N + 1) tokens each."""
    count, tokens = len(rows.tokens), sum(rows.tokens)
    evaluations = int(draws(search_parameters(config), count) * _EVALUATIONS_PER_DRAW)
    prompts = evaluations * count // 2
    computed = int(evaluations * tokens / 2 * (math.log2(max(2, count)) + 1))
    return Usage(prompts, prompts * tokens // 2, computed, modelled=True)


def _behind(config: JobConfig, rows: _Rows, prefix: int, lengths: Lengths) -> Usage:
    """A shard behind the anchor's demonstrations, which are in the cache by then."""
    if _is_annealing(config):
        inside = _annealing(config, rows)
        return inside + Usage(0, inside.prompts * prefix, 0, modelled=True)
    asked = 1 + _DOUBTFUL_SHARE * config.search.second_opinions
    prompts = round(asked * len(rows.tokens))
    read = asked * sum(max(1, tokens - lengths.tail) for tokens in rows.tokens)
    computed = round(read * (1 - lengths.shared_beginnings))
    return Usage(prompts, prompts * prefix + round(read), computed, modelled=True)
