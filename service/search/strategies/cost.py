"""Predicts the prompts and tokens of a shard's search before it runs; each strategy names the rule that fits it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.identifiers import Row
from service.search.predictions.prompt_tree import Usage
from service.search.state.problem import Parameters
from service.search.state.steps import Strategy
from service.search.strategies.cost_simulation import SURE, UNSURE, CostSimulation, made_up_problem, simulate_search

_DOUBTFUL_SHARE = 0.1  # expected share of a later shard's rows that are scored a second time


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLengths:
    """The lengths of a shard's rows, in the backend's tokens: all that a prediction of its cost needs."""

    groups: Sequence[int]  # the number of each row's group
    tokens: Sequence[int]  # the length of each row with its label and the separator
    known: Collection[Row]  # rows whose label the user is sure of, by their place in the shard
    classes: int
    budget_tokens: int  # maximum length of a prompt's demonstrations
    lead_tokens: int  # length of the beginning that all texts share
    tail_tokens: int  # length of a label and the separator
    shared_beginnings: float  # mean share of a text that it has in common with the beginning of the row before
    is_sure: bool = True  # whether the labels mean something to the language model, as far as a few rows tell


@dataclass(frozen=True, slots=True)
class LaterDemonstrations:
    """The texts of demonstrations behind which a later shard scores its rows, by their lengths in tokens.

    The shard scores every row behind each of the `first` texts, and doubtful rows behind the `others`, too.
    """

    first: Sequence[int]
    others: Sequence[int]


class Cost(Protocol):
    """A rule that predicts prompts and tokens, assuming an ideal prefix cache and labels of one token."""

    def alone(
        self, strategy: Strategy, parameters: Parameters, shard: ShardLengths, check_wanted: Callable[[], None]
    ) -> CostSimulation:
        """Predict a shard without an anchor; `check_wanted` may raise an error to end a long prediction."""

    def behind(
        self, parameters: Parameters, shard: ShardLengths, demonstrations: LaterDemonstrations
    ) -> CostSimulation:
        """Predict a shard behind the anchor's demonstrations, assuming that the cache already holds them."""


class SimulatedCost:
    """Runs the strategy on made-up scores; counts, for later shards, each row once and doubtful rows again."""

    def alone(
        self, strategy: Strategy, parameters: Parameters, shard: ShardLengths, check_wanted: Callable[[], None]
    ) -> CostSimulation:
        """Run the strategy on a made-up problem of these lengths: with a sure language model, and with an unsure one.

        The first settles soonest. The second is the longest search, but language models for which labels mean little
        settle here and there: their cost is taken for the mean of the two.
        """
        problem = made_up_problem(
            shard.groups, shard.tokens, shard.classes, parameters, shard.budget_tokens, known=shard.known
        )
        lead = max(shard.lead_tokens, _shared_tokens(shard))
        sure, unsure = (
            simulate_search(
                strategy,
                problem,
                lead_tokens=lead,
                tail_tokens=shard.tail_tokens,
                certainty=certainty,
                check_wanted=check_wanted,
            )
            for certainty in (SURE, UNSURE)
        )
        usage = sure.usage if shard.is_sure else mean_usage(sure.usage, unsure.usage)
        return CostSimulation(usage, sure.panel, max((sure, unsure), key=_most_prompts).most)

    def behind(
        self, parameters: Parameters, shard: ShardLengths, demonstrations: LaterDemonstrations
    ) -> CostSimulation:
        """Count the rows' own tokens once for each text of demonstrations in front of them."""
        del parameters
        usage = _behind(shard, demonstrations, _DOUBTFUL_SHARE)
        return CostSimulation(usage, most=_behind(shard, demonstrations, 1.0))


def mean_usage(one: Usage, other: Usage) -> Usage:
    """The mean of two costs."""
    total = one + other
    return Usage(
        total.prompts // 2,
        total.tokens_sent // 2,
        total.tokens_computed // 2,
        total.modelled,
        total.trainings // 2,
        total.tokens_trained // 2,
    )


def _most_prompts(simulation: CostSimulation) -> int:
    return simulation.usage.prompts if simulation.most is None else simulation.most.prompts


def _behind(shard: ShardLengths, demonstrations: LaterDemonstrations, doubtful_share: float) -> Usage:
    """The cost of a later shard of whose rows this share is asked behind all texts."""
    times = len(demonstrations.first) + doubtful_share * len(demonstrations.others)
    before = sum(demonstrations.first) + doubtful_share * sum(demonstrations.others)
    read = times * sum(max(1, tokens - shard.tail_tokens) for tokens in shard.tokens)
    sent = round(before * len(shard.tokens) + read)
    computed = round(read * (1 - shard.shared_beginnings))
    return Usage(round(times * len(shard.tokens)), sent, computed, modelled=True)


def _shared_tokens(shard: ShardLengths) -> int:
    """Tokens that a text shares with its neighbour: one less, since the shared characters may end within a token."""
    mean = sum(shard.tokens) / len(shard.tokens) - shard.tail_tokens
    return round(max(0.0, shard.shared_beginnings * mean - 1))
