"""Predicts the prompts and tokens of a job before it runs."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from service.config import JobConfig
from service.identifiers import Row
from service.jobs.checks.survey import Survey
from service.jobs.submission.sharding import ShardPlan
from service.jobs.task.problem import ANCHOR_SHARE, SPECIAL_TOKENS, cost_of, search_parameters, strategy_of
from service.records.rewards import RewardModel
from service.search.predictions.panel import Panel
from service.search.predictions.prompt_tree import Usage
from service.search.strategies.cost import LaterDemonstrations, ShardLengths
from service.search.strategies.cost_simulation import CostSimulation, never_cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """The lengths of a data set's rows and of the backend's context, in the backend's tokens."""

    demonstrations: Sequence[int]  # of each row with its label and the separator
    lead: int  # of the common prefix of all texts
    shared_beginnings: float  # share of all characters in the common prefix of a text and the one before it
    tail: int  # of a label and the separator
    context: int  # that the backend reads at once
    prompts_per_query: float = 1.0  # more than one if labels have several tokens (`label_words`)
    is_sure: bool = True  # whether the labels mean something to the language model, as far as a few rows tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The predicted cost of a job, and that of its longest search; None where its strategy's rule has no bound."""

    usage: Usage
    most: Usage | None = None


def predict_usage(
    config: JobConfig,
    plan: ShardPlan,
    groups: Sequence[int],
    lengths: Lengths,
    known: Collection[Row] = (),
    *,
    check_wanted: Callable[[], None] = never_cancelled,
) -> Prediction:
    """Predict prompts, tokens sent and tokens computed, assuming an ideal prefix cache.

    A query costs one prompt, plus one for each longer prefix of the labels, each a token longer than the last.
    `check_wanted` may raise an error to end the prediction.
    """
    rows_of_shards = [list[int]() for _ in plan.shards]
    for row, shard in enumerate(plan.shard_of_row):
        rows_of_shards[shard].append(row)
    shards = [_lengths_of(config, rows, groups, lengths, known) for rows in rows_of_shards]
    found = _with_one_prompt_each(config, shards, lengths, check_wanted)
    most = None if found.most is None else _with_further_prompts(found.most, lengths)
    return Prediction(usage=_with_further_prompts(found.usage, lengths), most=most)


def _with_further_prompts(usage: Usage, lengths: Lengths) -> Usage:
    """The cost with a prompt for each longer prefix of the labels."""
    more = lengths.prompts_per_query - 1
    further = round(usage.prompts * more)
    sent = round((usage.tokens_sent - usage.tokens_trained) * more + further * (more + 1) / 2)
    return usage + Usage(further, sent, further, modelled=True)


def predict_rewards(survey: Survey, model: RewardModel) -> Usage:
    """Predict what a reward model reads: two texts for each pair of twins, as long as those that it learned from."""
    pairs = survey.relations[0].constraints + survey.rows_lacking_their_twin
    tokens = round(2 * pairs * model.text_tokens)
    return Usage(2 * pairs, tokens, tokens, modelled=True)


def _with_one_prompt_each(
    config: JobConfig, shards: Sequence[ShardLengths], lengths: Lengths, check_wanted: Callable[[], None]
) -> Prediction:
    """The cost if every label is one token, by the rule of the configuration's method and strategy."""
    cost, strategy, parameters = cost_of(config), strategy_of(config), search_parameters(config)
    if not config.method.reads_anchor:
        return _summed([cost.alone(strategy, parameters, shard, check_wanted) for shard in shards])
    anchor, later = cost.alone(strategy, parameters, shards[0], check_wanted), shards[1:]
    if not later:
        return _summed([anchor])
    demonstrations = _of_panel(anchor.panel, shards[0]) if anchor.panel else _of_anchor(config, shards[0], lengths)
    read_once = Usage(0, 0, sum(demonstrations.first) + sum(demonstrations.others), modelled=True)
    behind = [cost.behind(parameters, shard, demonstrations) for shard in later]
    return _summed([anchor, CostSimulation(read_once, most=read_once), *behind])


def _summed(parts: Sequence[CostSimulation]) -> Prediction:
    most = [part.most for part in parts if part.most is not None]
    nothing = Usage(modelled=True)
    return Prediction(
        usage=sum((part.usage for part in parts), nothing),
        most=sum(most, nothing) if len(most) == len(parts) else None,
    )


def _lengths_of(
    config: JobConfig, rows: Sequence[int], groups: Sequence[int], lengths: Lengths, known: Collection[Row]
) -> ShardLengths:
    tokens = [lengths.demonstrations[row] for row in rows]
    return ShardLengths(
        groups=[groups[row] for row in rows],
        tokens=tokens,
        known={Row(place) for place, row in enumerate(rows) if row in known},
        classes=len(config.task.labels),
        budget_tokens=lengths.context - SPECIAL_TOKENS - max(tokens),
        lead_tokens=lengths.lead,
        tail_tokens=lengths.tail,
        shared_beginnings=lengths.shared_beginnings,
        is_sure=lengths.is_sure,
    )


def _of_panel(panel: Panel, anchor: ShardLengths) -> LaterDemonstrations:
    """The lengths of the demonstrations of the panel's members."""
    tokens = [sum(anchor.tokens[row] for row, _ in member.demonstrations) for member in panel.members]
    return LaterDemonstrations(tokens[: panel.first], tokens[panel.first :])


def _of_anchor(config: JobConfig, anchor: ShardLengths, lengths: Lengths) -> LaterDemonstrations:
    """The lengths of the anchor's demonstrations, as many as fit, in several orders."""
    prefix = min(sum(anchor.tokens), int(ANCHOR_SHARE * (lengths.context - SPECIAL_TOKENS)))
    return LaterDemonstrations([prefix], [prefix] * config.search.second_opinions)
