"""What a way to label is made of, for the names that a configuration can give (`registry.py`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.search.state.objective import Objective
from service.search.state.problem import Parameters
from service.search.state.steps import Strategy
from service.search.strategies.cost import Cost, SimulatedCost

_SIMULATED = SimulatedCost()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """A strategy of the search for coherent labels: what searches by each objective, the default one first.

    One that `trains` needs a base that may be trained, and all rows in one search.
    """

    searches: Mapping[Objective, Strategy]
    cost: Cost = _SIMULATED
    trains: bool = False

    @property
    def default_objective(self) -> Objective:
        """What the search raises where a configuration names nothing."""
        return next(iter(self.searches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A method that does without that search; with `reads_anchor` its later shards stand behind the anchor's labels."""

    build: Callable[[Parameters], Strategy]
    reads_anchor: bool = False
    cost: Cost = _SIMULATED
