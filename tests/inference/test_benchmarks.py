"""The benchmarks run from end to end at tiny sizes, on the small model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import page, plots, results
from benchmarks.__main__ import compute, read_arguments
from benchmarks.data import LABELS
from benchmarks.experiments import EXPERIMENTS, QUICK, Scale, planned
from benchmarks.local import LocalScorer, load_model
from benchmarks.results import Results
from benchmarks.runs import Run, execute
from benchmarks.strategies import GOLD, STRATEGIES
from inference.settings import SMALL_MODEL

pytestmark = pytest.mark.long  # a third of a minute

TINY = replace(QUICK, rows=8, few_rows=6, counted_rows=(4, 6), many_rows=10, fresh=4, few_tasks=("cities",))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    path = tmp_path_factory.mktemp("bench") / "results.json"
    compute(read_arguments(["--processes", "1"]), TINY, path)
    return results.read(path)


def test_every_run_of_every_experiment_is_measured(found: Results) -> None:
    assert set(found.measured) == set(planned(list(EXPERIMENTS), TINY))
    for run, measured in found.measured.items():
        assert float(measured["computed"]) <= float(measured["sent"])
        if not run.counted:
            assert 0 <= float(measured["accuracy"]) <= 1


def test_gold_labels_are_wholly_accurate_and_cost_nothing(found: Results) -> None:
    gold = [measured for run, measured in found.measured.items() if run.strategy == GOLD]
    assert {measured["accuracy"] for measured in gold} == {1.0}
    assert {measured["computed"] for measured in gold} == {0.0}


def test_page_and_plots_hold_every_strategy_and_do_not_change_when_drawn_again(found: Results, tmp_path: Path) -> None:
    text = page.write(found, TINY)
    for name in STRATEGIES:
        assert f"| `{name}`" in text
    drawn = [plots.draw_all(found, TINY, tmp_path / folder) for folder in ("one", "other")]
    assert len(drawn[0]) == 3
    for one, other in zip(*drawn, strict=True):
        assert f"](benchmarks/{one.name})" in text
        assert one.read_bytes() == other.read_bytes()


def test_resuming_computes_only_what_is_missing(found: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    scale: Scale = replace(TINY, tasks=TINY.tasks[:1])
    [*kept, dropped] = planned(["coherence"], scale)
    marked: Mapping[Run, Mapping[str, float | str]] = {run: {"accuracy": 0.125} for run in kept}
    results.write(path, replace(found, measured=marked))
    again = compute(read_arguments(["--processes", "1", "--resume", "--only", "coherence"]), scale, path)
    assert {run: again.measured[run] for run in marked} == marked
    assert again.measured[dropped]["accuracy"] == found.measured[dropped]["accuracy"]


def test_a_set_longer_than_the_context_is_searched_in_shards() -> None:
    run = Run(task="comparisons", rows=280, seed=0, strategy="zero_shot")
    measured = execute(run, LocalScorer(load_model(str(SMALL_MODEL)), LABELS))
    assert float(measured["accuracy"]) > 0.3
    assert "utility" not in measured
