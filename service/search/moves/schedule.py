"""Length, temperature and acceptance of the simulated annealing (Algorithm 1, lines 3, 4 and 9-12)."""

import math
from random import Random

from service.search.state.problem import Parameters

FEWEST_DRAWS = 100  # with n per row a row is never drawn with probability exp(-n), and keeps a seed's random label


def draws(parameters: Parameters, rows: int) -> int:
    """How many iterations there are for so many rows (N, line 3); none where there is nothing to label."""
    if not rows:
        return 0
    return max(FEWEST_DRAWS, math.ceil(parameters.draws_per_row * rows))


def temperature(parameters: Parameters, iteration: int) -> float:
    """T = max(T_min, T_0 / (1 + beta log n)) for the n-th iteration, counted from 1 (line 4)."""
    cooled = parameters.initial_temperature / (1 + parameters.cooling * math.log(iteration))
    return max(parameters.final_temperature, cooled)


def accepts(gain: float, temperature: float, rng: Random) -> bool:
    """Whether a change of utility is accepted: always upwards, else with probability exp(gain / T) (lines 9-12)."""
    return gain > 0 or rng.random() < math.exp(gain / temperature)
