"""Predicts what a job will cost in tokens before it runs."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from service.config import JobConfig, Method, StrategyName
from service.identifiers import Row
from service.jobs.problem import ANCHOR_SHARE, SPECIAL_TOKENS, search_parameters, strategy_of
from service.jobs.rehearsal import Rehearsal, made_up_problem, nobody_has_left, rehearsed
from service.jobs.sharding import ANCHORED, ShardPlan
from service.search.panel import Panel
from service.search.prompt_tree import Usage
from service.search.schedule import draws

_DOUBTFUL_SHARE = 0.1  # of the rows behind an anchor or by a panel's first members, which are asked for again
_EVALUATIONS_PER_DRAW = 0.7  # leave-one-outs per draw: unchanged labels need none, repairs several


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How long a data set is, in the backend's tokens."""

    demonstrations: Sequence[int]  # of each row with its label and the separator
    lead: int  # of what all texts begin with
    shared_beginnings: float  # share of the texts that the row before begins with, too
    tail: int  # of a label and the separator alone
    context: int  # that the backend reads at once
    prompts_per_query: float = 1.0  # more than one where labels have several tokens (`label_words`)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one shard: their groups and lengths, and which of them are known."""

    groups: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    known: set[Row] = field(default_factory=set)

    def add(self, group: int, tokens: int, *, known: bool) -> None:
        """Take in the next row."""
        if known:
            self.known.add(Row(len(self.tokens)))
        self.groups.append(group)
        self.tokens.append(tokens)


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a later shard asks: every row behind each of the first texts, doubtful rows behind the others, too.

    In tokens of the demonstrations that stand there.
    """

    first: Sequence[int]
    others: Sequence[int]


def predict_usage(
    config: JobConfig,
    plan: ShardPlan,
    groups: Sequence[int],
    lengths: Lengths,
    known: Collection[Row] = (),
    *,
    check_wanted: Callable[[], None] = nobody_has_left,
) -> Usage:
    """Prompts, tokens sent and tokens computed, as if the server's prefix cache were ideal.

    A question is a prompt, and one more for each further beginning of a label, a token longer than the one before.
    What `check_wanted` raises ends it.
    """
    shards = [_Rows() for _ in plan.shards]
    rows = zip(plan.shard_of_row, groups, lengths.demonstrations, strict=True)
    for row, (shard, group, tokens) in enumerate(rows):
        shards[shard].add(group, tokens, known=row in known)
    usage = _with_one_prompt_each(config, shards, lengths, check_wanted)
    more = lengths.prompts_per_query - 1
    further = round(usage.prompts * more)
    sent = round(usage.tokens_sent * more + further * (more + 1) / 2)
    return usage + Usage(further, sent, further, modelled=True)


def _with_one_prompt_each(
    config: JobConfig, shards: Sequence[_Rows], lengths: Lengths, check_wanted: Callable[[], None]
) -> Usage:
    """The cost where every label is one token.

    The first shard is rehearsed; rows behind an anchor cost their own tokens once for each text of
    demonstrations that they are asked behind. Algorithm 1 is too long for a rehearsal and follows a formula.
    """
    alone = (_alone(config, rows, lengths, check_wanted) for rows in shards)
    if config.method not in ANCHORED:
        return sum((rehearsal.usage for rehearsal in alone), Usage(modelled=True))
    anchor, later = next(alone), shards[1:]
    if not later:
        return anchor.usage
    asked = _by_panel(anchor.panel, shards[0]) if anchor.panel else _by_anchor(config, shards[0], lengths)
    usage = anchor.usage + Usage(0, 0, sum(asked.first) + sum(asked.others), modelled=True)
    return sum((_behind(config, rows, asked, lengths) for rows in later), usage)


def _by_panel(panel: Panel, anchor: _Rows) -> _Asked:
    """Behind the demonstrations of the panel's members."""
    tokens = [sum(anchor.tokens[row] for row, _ in member.demonstrations) for member in panel.members]
    return _Asked(tokens[: panel.first], tokens[panel.first :])


def _by_anchor(config: JobConfig, anchor: _Rows, lengths: Lengths) -> _Asked:
    """Behind as many of the anchor's rows as fit, in several orders."""
    prefix = min(sum(anchor.tokens), int(ANCHOR_SHARE * (lengths.context - SPECIAL_TOKENS)))
    return _Asked([prefix], [prefix] * config.search.second_opinions)


def _is_annealing(config: JobConfig) -> bool:
    return config.method is Method.ICM and config.search.strategy is not StrategyName.FOLDS


def _alone(config: JobConfig, rows: _Rows, lengths: Lengths, check_wanted: Callable[[], None]) -> Rehearsal:
    """A shard that reads no anchor."""
    if _is_annealing(config):
        return Rehearsal(_annealing(config, rows))
    budget = lengths.context - SPECIAL_TOKENS - max(rows.tokens)
    parameters = search_parameters(config)
    problem = made_up_problem(rows.groups, rows.tokens, len(config.task.labels), parameters, budget, known=rows.known)
    lead = max(lengths.lead, _shared_tokens(rows, lengths))
    return rehearsed(
        strategy_of(config), problem, lead_tokens=lead, tail_tokens=lengths.tail, check_wanted=check_wanted
    )


def _shared_tokens(rows: _Rows, lengths: Lengths) -> int:
    """Tokens that a text has in common with its neighbour: characters shared end within a token, which is new."""
    mean = sum(rows.tokens) / len(rows.tokens) - lengths.tail
    return round(max(0.0, lengths.shared_beginnings * mean - 1))


def _annealing(config: JobConfig, rows: _Rows) -> Usage:
    """A leave-one-out over the rows labelled so far for most of the draws: N L (log2 N + 1) tokens each."""
    count, tokens = len(rows.tokens), sum(rows.tokens)
    evaluations = int(draws(search_parameters(config), count) * _EVALUATIONS_PER_DRAW)
    prompts = evaluations * count // 2
    computed = int(evaluations * tokens / 2 * (math.log2(max(2, count)) + 1))
    return Usage(prompts, prompts * tokens // 2, computed, modelled=True)


def _behind(config: JobConfig, rows: _Rows, asked: _Asked, lengths: Lengths) -> Usage:
    """A shard behind the anchor's demonstrations, which are in the cache by then."""
    if _is_annealing(config):
        inside = _annealing(config, rows)
        return inside + Usage(0, inside.prompts * asked.first[0], 0, modelled=True)
    times = len(asked.first) + _DOUBTFUL_SHARE * len(asked.others)
    before = sum(asked.first) + _DOUBTFUL_SHARE * sum(asked.others)
    read = times * sum(max(1, tokens - lengths.tail) for tokens in rows.tokens)
    sent = round(before * len(rows.tokens) + read)
    computed = round(read * (1 - lengths.shared_beginnings))
    return Usage(round(times * len(rows.tokens)), sent, computed, modelled=True)
