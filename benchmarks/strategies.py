"""Everything that is compared, by name: a line here adds a strategy or baseline to every table and plot."""

from collections.abc import Callable, Mapping

from service.search.folds import Folds
from service.search.paper import Paper
from service.search.steps import Strategy
from service.search.zero_shot import ZeroShot

STRATEGIES: Mapping[str, Callable[[], Strategy]] = {
    "folds": Folds,
    "paper": Paper,
    "zero_shot": ZeroShot,
}
