"""Predicts the cost of simulated annealing (Algorithm 1) by a formula, since a simulation of it would take too long."""

import math
from collections.abc import Callable

from service.search.moves.schedule import draws
from service.search.predictions.prompt_tree import Usage
from service.search.state.problem import Parameters
from service.search.state.steps import Strategy
from service.search.strategies.cost import LaterDemonstrations, ShardLengths
from service.search.strategies.cost_simulation import CostSimulation

_EVALUATIONS_PER_DRAW = 0.7  # leave-one-outs per draw: unchanged labels need none, repairs several


class AnnealingCost:
    """The cost of a search that makes a leave-one-out over the rows labelled so far for most draws, in every shard."""

    def alone(
        self, strategy: Strategy, parameters: Parameters, shard: ShardLengths, check_wanted: Callable[[], None]
    ) -> CostSimulation:
        """Count N L (log2 N + 1) tokens for each leave-one-out."""
        del strategy, check_wanted  # a formula takes no time
        return CostSimulation(_annealing(parameters, shard))

    def behind(
        self, parameters: Parameters, shard: ShardLengths, demonstrations: LaterDemonstrations
    ) -> CostSimulation:
        """Add the anchor's demonstrations, which every prompt sends again."""
        inside = _annealing(parameters, shard)
        return CostSimulation(inside + Usage(0, inside.prompts * demonstrations.first[0], 0, modelled=True))


def _annealing(parameters: Parameters, shard: ShardLengths) -> Usage:
    count, tokens = len(shard.tokens), sum(shard.tokens)
    evaluations = int(draws(parameters, count) * _EVALUATIONS_PER_DRAW)
    prompts = evaluations * count // 2
    computed = int(evaluations * tokens / 2 * (math.log2(max(2, count)) + 1))
    return Usage(prompts, prompts * tokens // 2, computed, modelled=True)
