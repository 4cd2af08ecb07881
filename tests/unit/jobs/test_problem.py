from dataclasses import replace

import orjson
import pytest

from service.config import SearchConfig
from service.errors import BackendUnavailable, InvalidConfig
from service.identifiers import Label, Row
from service.jobs.task.problem import (
    SPECIAL_TOKENS,
    AnchorLabels,
    build_problem,
    cost_of,
    search_parameters,
    strategy_of,
)
from service.records.jobs import ShardRow
from service.search.predictions.panel import Member, Panel
from service.search.state.objective import Objective
from service.search.state.problem import Parameters
from service.search.strategies.annealing_cost import AnnealingCost
from service.search.strategies.baselines import Bootstrap
from service.search.strategies.cost import Cost, SimulatedCost
from service.search.strategies.folds import Folds
from service.search.strategies.gain_search import GainSearch
from service.search.strategies.registry import Method, StrategyName
from tests.support.sources import CountingScorer, config

ROWS = [ShardRow(position=Row(number), data=b'{"q": "a word"}') for number in range(4)]


async def test_demonstrations_may_fill_what_the_backend_reads_beside_the_longest_row() -> None:
    problem = await build_problem(CountingScorer(60), config(), ROWS)
    assert problem.budget_tokens == 60 - SPECIAL_TOKENS - max(problem.demonstration_tokens.values())


async def test_no_search_begins_without_the_length_that_a_backend_which_is_away_would_tell() -> None:
    away = CountingScorer(None, problems=["connection refused"], reachable=False)
    with pytest.raises(BackendUnavailable, match="connection refused"):
        await build_problem(away, config(), ROWS)


async def test_known_labels_are_read_from_the_rows_of_every_shard() -> None:
    sure = [ShardRow(position=Row(n), data=orjson.dumps({"q": "a", "sure": v})) for n, v in enumerate([None, "false"])]
    chosen = config(known_field="sure")
    assert (await build_problem(CountingScorer(), chosen, sure)).known == {1: 1}
    anchor = AnchorLabels(ROWS, {row.position: Label(0) for row in ROWS})
    later = await build_problem(CountingScorer(), chosen, sure, anchor)
    assert later.known == {1: 1}
    assert later.prefix.count("a word is True") == 4
    assert (await build_problem(CountingScorer(), config(), sure)).known == {}


async def test_shares_are_bounds_for_the_rows_of_the_shard() -> None:
    chosen = config(shares={"False": 0.25})
    alone = await build_problem(CountingScorer(), chosen, ROWS)
    assert alone.shares == {1: (0.25, 0.25)}
    [(lower, upper)] = (await build_problem(CountingScorer(), chosen, ROWS, job_rows=40)).shares.values()
    assert lower < 0.25 < upper
    assert (await build_problem(CountingScorer(), config(), ROWS)).shares == {}


def panel_showing(*shown: list[tuple[int, int]]) -> Panel:
    members = tuple(Member(tuple((Row(r), Label(y)) for r, y in rows), (0.0, 0.5), 1.0) for rows in shown)
    return Panel(members, (0.0, 0.1), 1, (0.0, 0.2))


WORDS = [ShardRow(position=Row(n), data=orjson.dumps({"q": word})) for n, word in enumerate(["one", "two", "three"])]


async def test_a_later_shard_stands_behind_the_demonstrations_of_each_member_of_the_anchors_panel() -> None:
    found = panel_showing([(2, 1), (0, 0)], [], [(1, 1)])
    later = await build_problem(
        CountingScorer(), config(), ROWS, AnchorLabels(WORDS, {row.position: Label(0) for row in WORDS}, found)
    )
    assert later.panel == found
    assert list(later.panel_prefixes) == ["three is False\n\none is True\n\n", "", "two is False\n\n"]
    assert (later.prefix, list(later.other_prefixes)) == ("", [])
    assert later.rows == tuple(row.position for row in ROWS)


async def test_where_a_later_shard_leaves_less_room_the_last_demonstrations_are_left_out() -> None:
    found = panel_showing([(2, 1), (0, 0), (1, 1)], [(1, 0)])
    anchor = AnchorLabels(WORDS, {row.position: Label(0) for row in WORDS}, found)
    roomy = await build_problem(CountingScorer(), config(), WORDS, anchor)
    row_tokens, longest = roomy.demonstration_tokens[Row(0)], max(roomy.demonstration_tokens.values())
    context = SPECIAL_TOKENS + longest + 2 * longest
    assert row_tokens > 0
    narrow = await build_problem(CountingScorer(context), config(), WORDS, anchor)
    assert list(narrow.panel_prefixes) == ["three is False\n\none is True\n\n", "two is True\n\n"]
    few = await build_problem(CountingScorer(), config(search={"max_demonstrations": 1}), WORDS, anchor)
    assert list(few.panel_prefixes) == ["three is False\n\n", "two is True\n\n"]


def test_the_default_is_the_search_by_gain_and_the_papers_utility_a_choice() -> None:
    assert isinstance(strategy_of(config()), GainSearch)
    assert isinstance(strategy_of(config(search={"objective": "utility"})), Folds)


@pytest.mark.parametrize("strategy", StrategyName)
@pytest.mark.parametrize("objective", Objective)
def test_every_strategy_searches_by_each_objective_that_it_raises(strategy: StrategyName, objective: Objective) -> None:
    if objective in strategy.approach.searches:
        found = strategy_of(config(search={"strategy": strategy, "objective": objective}))
        assert found is strategy.approach.searches[objective]
    else:
        with pytest.raises(InvalidConfig) as caught:
            config(search={"strategy": strategy, "objective": objective})
        told = f"{strategy.value!r} raises '{strategy.approach.default_objective.value}'"
        assert told in caught.value.faults[0].message


@pytest.mark.parametrize(
    ("search", "rule"),
    [({}, SimulatedCost), ({"strategy": "paper"}, AnnealingCost), ({"strategy": "authors"}, AnnealingCost)],
)
def test_a_strategy_is_costed_by_its_own_rule_and_a_baseline_by_that_of_the_baseline(
    search: dict[str, object], rule: type[Cost]
) -> None:
    assert isinstance(cost_of(config(search=search)), rule)
    baseline = replace(config(search=search), method=Method.ZERO_SHOT)
    assert isinstance(cost_of(baseline), SimulatedCost)


def test_a_bootstrap_keeps_relations_if_the_configuration_says_so() -> None:
    for consistent in (True, False):
        told = replace(config(), method=Method.BOOTSTRAP, search=SearchConfig(consistency=consistent))
        assert strategy_of(told) == Bootstrap(consistent)


def test_the_search_is_given_the_numbers_of_the_configuration() -> None:
    numbers = {"seed": 7, "alpha": 3.0, "folds": 5, "rounds": 2, "draws_per_row": 1.5}
    given = search_parameters(config(search={**numbers, "normalization": "sum", "exact_confidence": False}))
    assert {name: getattr(given, name) for name in numbers} == numbers
    assert (given.mean, given.exact_scores) == (False, False)
    assert search_parameters(config()) == Parameters()
