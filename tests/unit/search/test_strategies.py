import pytest

from service.search.state.steps import Phase, StopReason, Strategy
from service.search.strategies.baselines import ZeroShot
from service.search.strategies.folds import Folds
from service.search.strategies.gain_search import GainSearch
from service.search.strategies.paper import Paper
from tests.long import LONG
from tests.toy import ToyWorld, drive

RUNS = 100 if LONG else 20
ENOUGH = 0.95 * RUNS

WORLDS = [
    pytest.param(10, 2, False, id="binary without relations"),
    pytest.param(10, 2, True, id="binary twins", marks=pytest.mark.long),
    pytest.param(6, 3, False, id="three classes without relations", marks=pytest.mark.long),
    pytest.param(6, 3, True, id="three classes with twins"),
]


def optima_reached(strategy: Strategy, rows: int, classes: int, *, related: bool) -> int:
    reached = 0
    for world_seed in range(5):
        world = ToyWorld(rows, classes, related, world_seed)
        for seed in range(RUNS // 5):
            labels = drive(world, world.problem(seed), strategy)[-1].labels
            reached += world.utility(labels) >= world.best_utility - 1e-9
    return reached


@pytest.mark.parametrize(("rows", "classes", "related"), WORLDS)
def test_paper_reaches_the_brute_force_optimum_in_95_percent_of_runs(rows: int, classes: int, related: bool) -> None:
    assert optima_reached(Paper(), rows, classes, related=related) >= ENOUGH


@pytest.mark.parametrize(("rows", "classes", "related"), WORLDS)
def test_folds_reaches_the_brute_force_optimum_in_95_percent_of_runs(rows: int, classes: int, related: bool) -> None:
    assert optima_reached(Folds(), rows, classes, related=related) >= ENOUGH


@pytest.mark.parametrize("strategy", [Paper(), Folds(), GainSearch()])
def test_every_row_ends_with_a_label_and_its_scores(strategy: Strategy) -> None:
    world = ToyWorld(9, 2, True, 0)
    end = drive(world, world.problem(), strategy)[-1]
    assert end.phase is Phase.DONE
    assert set(end.labels) == set(end.scores) == set(world.planted)
    assert isinstance(end.facts["utility"], float)


@pytest.mark.parametrize("strategy", [Paper(), Folds()])
def test_the_reported_utility_is_that_of_the_labels_handed_out(strategy: Strategy) -> None:
    world = ToyWorld(9, 2, True, 3)
    end = drive(world, world.problem(), strategy)[-1]
    assert end.facts["utility"] == pytest.approx(world.utility(end.labels), abs=1e-9)


@pytest.mark.parametrize("strategy", [Paper(), Folds()])
def test_the_permuted_labelling_is_never_better_than_the_one_kept(strategy: Strategy) -> None:
    for seed in range(10):
        world = ToyWorld(8, 2, False, seed)
        summary = drive(world, world.problem(seed), strategy)[-1].facts
        assert isinstance(permuted := summary["permuted_utility"], float)
        assert isinstance(kept := summary["utility"], float)
        assert permuted <= kept


@pytest.mark.parametrize("strategy", [Paper(), Folds(), ZeroShot()])
@pytest.mark.parametrize("rows", [1, 2])
def test_tiny_data_sets_are_labelled_too(strategy: Strategy, rows: int) -> None:
    world = ToyWorld(rows, 2, True, 1)
    assert len(drive(world, world.problem(), strategy)[-1].labels) == rows


@pytest.mark.parametrize("seed_labels", [1, 3, 7])
def test_an_odd_number_of_seed_labels_works(seed_labels: int) -> None:
    world = ToyWorld(8, 2, False, 1)
    end = drive(world, world.problem(seed_labels=seed_labels), Paper())[-1]
    assert len(end.labels) == 8


def test_the_sum_form_of_the_objective_is_searched_too() -> None:
    world = ToyWorld(8, 2, False, 2)
    end = drive(world, world.problem(mean=False), Paper())[-1]
    assert len(end.labels) == 8
    assert end.facts["utility"] == pytest.approx(8 * world.utility(end.labels), abs=1e-9)


def test_stop_reasons_are_named() -> None:
    world = ToyWorld(8, 2, True, 2)
    assert drive(world, world.problem(), Paper())[-1].stop is StopReason.DRAWS_DONE
    assert drive(world, world.problem(), ZeroShot())[-1].stop is StopReason.ASKED_ONCE
    assert drive(world, world.problem(), Folds())[-1].stop in {StopReason.CONVERGED, StopReason.SWEEPS_DONE}
