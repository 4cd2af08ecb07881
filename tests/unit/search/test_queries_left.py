"""How many queries a search still asks, predicted after each of its requests."""

from collections.abc import Callable

import pytest

from service.identifiers import Row
from service.search.engine import Search
from service.search.state.objective import Objective
from service.search.state.problem import Parameters
from service.search.state.steps import Strategy, trees_of
from service.search.strategies.cost_simulation import made_up_problem
from service.search.strategies.queries_left import DrawCosts, Forecast
from service.search.strategies.registry import Method, StrategyName
from tests.toy import ToyWorld

FIRST_FIFTH = 0.2


def forecasts(search: Search, forecast: Forecast, answered: Callable[[Search], int]) -> list[tuple[float, int, float]]:
    """After each request from the first fifth on: the share asked, the queries that followed, those predicted."""
    costs, asked, of_step, told = DrawCosts(), 0, 0, list[tuple[int, float]]()
    while search.ask() is not None:
        before = search.state
        queries = answered(search)
        asked, of_step = asked + queries, of_step + queries
        if search.state.step > before.step:
            costs.note(before, search.state, of_step)
            of_step = 0
        told.append((asked, max(0.0, forecast.left(search.problem, search.state, costs) - of_step)))
    return [(at / asked, asked - at, left) for at, left in told if FIRST_FIFTH * asked <= at < asked]


def answered_by(world: ToyWorld) -> Callable[[Search], int]:
    """Answers what a search asks as the toy language model does, and counts the queries."""

    def answer(search: Search) -> int:
        asked = search.ask()
        assert asked is not None
        answers = [world.answer(tree) for tree in trees_of(asked)]
        search.tell(answers)
        return sum(len(scores.log_probabilities) for scores in answers)

    return answer


def searches() -> dict[str, tuple[Strategy, Forecast]]:
    """Every strategy that does not train, for each objective, and every baseline."""
    found: dict[str, tuple[Strategy, Forecast]] = {}
    for name in StrategyName:
        for objective, strategy in name.approach.searches.items():
            if not name.approach.trains:
                found[f"{name}-{objective}"] = (strategy, name.approach.forecasts[objective])
    for method in Method:
        if method.baseline is not None:
            found[method.value] = (method.baseline.build(Parameters()), method.baseline.forecast)
    return found


ANNEALED = {f"{name}-{Objective.UTILITY}" for name in (StrategyName.PAPER, StrategyName.AUTHORS)}


@pytest.mark.parametrize("name", searches())
@pytest.mark.parametrize("home", [2.0, 0.5], ids=["sure", "unsure"])
@pytest.mark.parametrize("classes", [2, 3])
def test_from_the_first_fifth_on_a_search_asks_at_most_twice_what_is_predicted(
    name: str, home: float, classes: int
) -> None:
    world = ToyWorld(rows=14 if name in ANNEALED else 32, classes=classes, seed=0, home=home, related=False)
    strategy, forecast = searches()[name]
    told = forecasts(Search(world.problem(), strategy), forecast, answered_by(world))
    assert told or name in {Method.ZERO_SHOT, Method.FEW_SHOT_RANDOM}, "these make a single request"
    low, high = (0.4, 3.5) if name in ANNEALED else (0.5, 2.0)  # nobody knows how often a draw still changes labels
    assert all(low <= left / really <= high for _, really, left in told), told


def test_a_later_shard_is_predicted_by_the_views_that_it_stands_behind() -> None:
    problem = made_up_problem(range(10), [9] * 10, 2, Parameters(), None, known=[Row(0)])
    for name, (_, forecast) in searches().items():
        assert forecast.later(problem.parameters, 10) >= 10, name
