"""Everything that is compared, by name: a line here adds a strategy or baseline to every table and plot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.search.state.steps import Strategy
from service.search.strategies.authors import Authors
from service.search.strategies.baselines import Bootstrap, FewShotRandom, ZeroShot
from service.search.strategies.folds import Folds
from service.search.strategies.gain_search import GainSearch
from service.search.strategies.paper import Paper

GOLD = "gold"  # the labels as they should be, in a strategy's place


@dataclass(frozen=True, slots=True)
class Contender:
    """A strategy, and whether it rescores every row after each change, so that large sets take it hours.

    `folds_gain` is the default, `folds` the same strategy under the paper's utility; `exact` says whether
    that ends with leave-one-out (`exact_confidence`).
    """

    make: Callable[[], Strategy]
    rescores: bool = False
    exact: bool = True


STRATEGIES: Mapping[str, Contender] = {
    "folds_gain": Contender(GainSearch),
    "folds": Contender(Folds),
    "folds_inexact": Contender(Folds, exact=False),
    "paper": Contender(Paper, rescores=True),
    "authors": Contender(Authors, rescores=True),
    "bootstrap": Contender(Bootstrap),
    "few_shot_random": Contender(FewShotRandom),
    "zero_shot": Contender(ZeroShot),
}
