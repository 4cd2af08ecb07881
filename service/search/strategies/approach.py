"""Describes a strategy or baseline for the registry: what to run, and how to predict its cost (`registry.py`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.search.state.objective import Objective
from service.search.state.problem import Parameters
from service.search.state.steps import Strategy
from service.search.strategies.cost import Cost, SimulatedCost

_SIMULATED = SimulatedCost()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """A strategy of the search for coherent labels: the search for each objective it supports, its default first.

    A strategy that `trains` needs a base that workers may train, and all rows in one search.
    """

    searches: Mapping[Objective, Strategy]
    cost: Cost = _SIMULATED
    trains: bool = False

    @property
    def default_objective(self) -> Objective:
        """The objective of a search whose configuration names none."""
        return next(iter(self.searches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A method without that search; with `reads_anchor`, it labels later shards behind the anchor's demonstrations."""

    build: Callable[[Parameters], Strategy]
    reads_anchor: bool = False
    cost: Cost = _SIMULATED
