"""Computes length, temperature and acceptance of simulated annealing (Algorithm 1, lines 3, 4 and 9-12)."""

import math
from random import Random

from service.search.state.problem import Parameters

FEWEST_DRAWS = 100  # with n draws per row, a row is never drawn, and keeps its random label, with probability exp(-n)


def draws(parameters: Parameters, rows: int) -> int:
    """The number of iterations for `rows` rows to label (N, line 3)."""
    if not rows:
        return 0
    return max(FEWEST_DRAWS, math.ceil(parameters.draws_per_row * rows))


def temperature(parameters: Parameters, iteration: int) -> float:
    """T = max(T_min, T_0 / (1 + beta log n)) for the n-th iteration, counted from 1 (line 4)."""
    cooled = parameters.initial_temperature / (1 + parameters.cooling * math.log(iteration))
    return max(parameters.final_temperature, cooled)


def accepts(gain: float, temperature: float, rng: Random) -> bool:
    """Decide about a change of utility: accept a gain, else accept with probability exp(gain / T) (lines 9-12)."""
    return gain > 0 or rng.random() < math.exp(gain / temperature)
