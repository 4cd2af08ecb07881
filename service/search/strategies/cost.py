"""Predicts the prompts and tokens of a shard's search before it runs; each strategy names the rule that fits it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.identifiers import Row
from service.search.predictions.prompt_tree import Usage
from service.search.state.problem import Parameters
from service.search.state.steps import Strategy
from service.search.strategies.cost_simulation import CostSimulation, made_up_problem, simulate_search

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

    def behind(self, parameters: Parameters, shard: ShardLengths, demonstrations: LaterDemonstrations) -> Usage:
        """Predict a shard behind the anchor's demonstrations, assuming that the cache already holds them."""


class SimulatedCost:
    """Runs the strategy on made-up scores; counts, for later shards, each row once and doubtful rows again."""

    def alone(
        self, strategy: Strategy, parameters: Parameters, shard: ShardLengths, check_wanted: Callable[[], None]
    ) -> CostSimulation:
        """Run the strategy on a made-up problem of these lengths."""
        problem = made_up_problem(
            shard.groups, shard.tokens, shard.classes, parameters, shard.budget_tokens, known=shard.known
        )
        lead = max(shard.lead_tokens, _shared_tokens(shard))
        return simulate_search(
            strategy, problem, lead_tokens=lead, tail_tokens=shard.tail_tokens, check_wanted=check_wanted
        )

    def behind(self, parameters: Parameters, shard: ShardLengths, demonstrations: LaterDemonstrations) -> Usage:
        """Count the rows' own tokens once for each text of demonstrations in front of them."""
        del parameters
        times = len(demonstrations.first) + _DOUBTFUL_SHARE * len(demonstrations.others)
        before = sum(demonstrations.first) + _DOUBTFUL_SHARE * sum(demonstrations.others)
        read = times * sum(max(1, tokens - shard.tail_tokens) for tokens in shard.tokens)
        sent = round(before * len(shard.tokens) + read)
        computed = round(read * (1 - shard.shared_beginnings))
        return Usage(round(times * len(shard.tokens)), sent, computed, modelled=True)


def _shared_tokens(shard: ShardLengths) -> int:
    """Tokens that a text shares with its neighbour: one less, since the shared characters may end within a token."""
    mean = sum(shard.tokens) / len(shard.tokens) - shard.tail_tokens
    return round(max(0.0, shard.shared_beginnings * mean - 1))
