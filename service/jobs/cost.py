"""Predicts what a job will cost in tokens before it runs."""

import math
from collections.abc import Iterable, Sequence

from service.config import JobConfig, Method, StrategyName
from service.jobs.sharding import ShardPlan
from service.search.prompt_tree import Usage

_EXPECTED_SWEEPS = 3  # sweeps of `folds` at full size, the polarity's included
_EXTENSION_SWEEPS = 2  # sweeps of a later shard
_SMALL_SWEEPS = 8  # sweeps of one restart on the small set
_EVALUATIONS_PER_DRAW = 0.7  # leave-one-outs per draw of `paper`: unchanged labels need none, repairs several


def predict_usage(config: JobConfig, plan: ShardPlan, demonstration_tokens: Sequence[int]) -> Usage:
    """Prompts, tokens sent and tokens computed, as if the server's prefix cache were ideal.

    N rows of L tokens: predicting them behind shared demonstrations computes N L tokens, a
    sweep over G folds N L (log2 G + 1), leave-one-out N L (log2 N + 1) (DESIGN §5.2).
    """
    shards: list[list[int]] = [[] for _ in plan.shards]
    for shard, tokens in zip(plan.shard_of_row, demonstration_tokens, strict=True):
        shards[shard].append(tokens)
    if config.method is Method.ZERO_SHOT:
        return _total(Usage(len(rows), sum(rows), sum(rows), modelled=True) for rows in shards)
    anchor_tokens = sum(shards[0])
    first = _paper(config, shards[0]) if config.search.strategy is StrategyName.PAPER else _folds(config, shards[0])
    return _total([first, *(_extension(config, rows, anchor_tokens) for rows in shards[1:])])


def _total(parts: Iterable[Usage]) -> Usage:
    return sum(parts, Usage(modelled=True))


def _folds(config: JobConfig, rows: Sequence[int]) -> Usage:
    """Restarts on the small set, growth by doubling with sweeps, polarity, final leave-one-out."""
    search, count, tokens = config.search, len(rows), sum(rows)
    small = min(count, search.initial_rows)
    sweep = math.log2(search.folds) + 1
    restarts = search.restarts * _SMALL_SWEEPS * small * sweep
    growth = (count - small) * (1 + 2 * sweep)
    final = count * (_EXPECTED_SWEEPS * sweep + math.log2(max(2, count)) + 1)
    prompts = int(search.restarts * _SMALL_SWEEPS * small + 3 * (count - small) + count * (_EXPECTED_SWEEPS + 1))
    computed = int((restarts + growth + final) * tokens / max(1, count))
    return Usage(prompts, prompts * tokens // 2, computed, modelled=True)


def _paper(config: JobConfig, rows: Sequence[int]) -> Usage:
    """A leave-one-out over the rows labelled so far for most of the draws."""
    count, tokens = len(rows), sum(rows)
    evaluations = int(config.search.draws_per_row * count * _EVALUATIONS_PER_DRAW)
    prompts = evaluations * count // 2
    computed = int(evaluations * tokens / 2 * (math.log2(max(2, count)) + 1))
    return Usage(prompts, prompts * tokens // 2, computed, modelled=True)


def _extension(config: JobConfig, rows: Sequence[int], anchor_tokens: int) -> Usage:
    """The anchor's rows once, then a prediction and sweeps behind them."""
    count, tokens = len(rows), sum(rows)
    if config.search.strategy is StrategyName.PAPER:
        inside = _paper(config, rows)
        return inside + Usage(0, inside.prompts * anchor_tokens, anchor_tokens, modelled=True)
    sweeps = _EXTENSION_SWEEPS * (math.log2(config.search.folds) + 1)
    prompts = count * (1 + _EXTENSION_SWEEPS)
    return Usage(prompts, prompts * (anchor_tokens + tokens), anchor_tokens + int(tokens * (1 + sweeps)), modelled=True)
