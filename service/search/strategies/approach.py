"""Describes a strategy or baseline for the registry: what to run, and how to predict its cost (`registry.py`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.search.state.objective import Objective
from service.search.state.problem import Parameters, Problem
from service.search.state.steps import State, Strategy
from service.search.strategies.cost import Cost, SimulatedCost
from service.search.strategies.queries_left import Forecast

_SIMULATED = SimulatedCost()


# The most tokens that trainings may still read after a state, counting each epoch and each scored row. Rounds may end
# early.
TokensLeft = Callable[[Problem, State], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """A strategy of the search for coherent labels: the search for each objective it supports, its default first.

    A strategy that trains has `tokens_left`. It needs a base that workers may train, and all rows in one search. All
    others have a forecast for each objective.
    """

    searches: Mapping[Objective, Strategy]
    cost: Cost = _SIMULATED
    tokens_left: TokensLeft | None = None
    forecasts: Mapping[Objective, Forecast] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether the strategy asks for trainings."""
        return self.tokens_left is not None

    @property
    def default_objective(self) -> Objective:
        """The objective of a search whose configuration names none."""
        return next(iter(self.searches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A method other than the search; with `reads_anchor`, it labels later shards behind the anchor's rows."""

    build: Callable[[Parameters], Strategy]
    forecast: Forecast
    reads_anchor: bool = False
    cost: Cost = _SIMULATED
