"""What the search of a shard costs, said before it runs: every way to label names the rule that holds for it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.identifiers import Row
from service.search.predictions.prompt_tree import Usage
from service.search.state.problem import Parameters
from service.search.state.steps import Strategy
from service.search.strategies.cost_simulation import CostSimulation, made_up_problem, rehearsed

_DOUBTFUL_SHARE = 0.1  # of the rows behind an anchor or by a panel's first members, which are asked for again


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLengths:
    """The rows of a shard without their text; lengths are in the backend's tokens."""

    groups: Sequence[int]  # of each row
    tokens: Sequence[int]  # of each row with its label and the separator
    known: Collection[Row]  # rows whose label the user is sure of, by their place in the shard
    classes: int
    budget_tokens: int  # that the demonstrations of a prompt may have
    lead_tokens: int  # of what all texts begin with
    tail_tokens: int  # of a label and the separator alone
    shared_beginnings: float  # share of the texts that the row before begins with, too


@dataclass(frozen=True, slots=True)
class Asked:
    """How a later shard asks: every row behind each of the first texts, doubtful rows behind the others, too.

    In tokens of the demonstrations that stand there.
    """

    first: Sequence[int]
    others: Sequence[int]


class Cost(Protocol):
    """A rule that predicts prompts and tokens, as if the server's prefix cache were ideal and a label one token."""

    def alone(
        self, strategy: Strategy, parameters: Parameters, shard: ShardLengths, check_wanted: Callable[[], None]
    ) -> CostSimulation:
        """A shard that reads no anchor; what `check_wanted` raises ends a long prediction."""

    def behind(self, parameters: Parameters, shard: ShardLengths, asked: Asked) -> Usage:
        """A shard behind the anchor's demonstrations, which are in the cache by then."""


class SimulatedCost:
    """The strategy is run on made-up scores; behind an anchor every row is asked for once, doubtful ones again."""

    def alone(
        self, strategy: Strategy, parameters: Parameters, shard: ShardLengths, check_wanted: Callable[[], None]
    ) -> CostSimulation:
        """What the run asks for, and the panel that it makes."""
        problem = made_up_problem(
            shard.groups, shard.tokens, shard.classes, parameters, shard.budget_tokens, known=shard.known
        )
        lead = max(shard.lead_tokens, _shared_tokens(shard))
        return rehearsed(strategy, problem, lead_tokens=lead, tail_tokens=shard.tail_tokens, check_wanted=check_wanted)

    def behind(self, parameters: Parameters, shard: ShardLengths, asked: Asked) -> Usage:
        """The rows' own tokens once for each text that they are asked behind."""
        del parameters
        times = len(asked.first) + _DOUBTFUL_SHARE * len(asked.others)
        before = sum(asked.first) + _DOUBTFUL_SHARE * sum(asked.others)
        read = times * sum(max(1, tokens - shard.tail_tokens) for tokens in shard.tokens)
        sent = round(before * len(shard.tokens) + read)
        computed = round(read * (1 - shard.shared_beginnings))
        return Usage(round(times * len(shard.tokens)), sent, computed, modelled=True)


def _shared_tokens(shard: ShardLengths) -> int:
    """Tokens that a text has in common with its neighbour: characters shared end within a token, which is new."""
    mean = sum(shard.tokens) / len(shard.tokens) - shard.tail_tokens
    return round(max(0.0, shard.shared_beginnings * mean - 1))
