"""What the page about real language models says of the cells that were measured."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.real import page, yardsticks
from benchmarks.real.cells import Cell
from benchmarks.real.ledger import Ledger
from benchmarks.real.summary import Summary
from tests.unit.benchmarks.real.small import measured

MET: Mapping[str, list[list[float]]] = {
    "zero_shot": [],
    "paper": [],
    "default": [[-9.0, 0.6], [-7.0, 0.5], [-8.0, 0.5], [-6.0, 0.75]],
}


RUN: Mapping[str, object] = {
    "shares": {"positive": 0.5, "negative": 0.5, "True": 0.5, "False": 0.5}, "conflicts": 0, "unsure": 0,
    "facts": {"stop": "converged"},
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("page")
    ledger = Ledger(tmp_path / "results.jsonl")
    for task, seed, method in itertools.product(("sst2", "cities"), (0, 1), ("zero_shot", "default", "paper")):
        cell = Cell(task=task, model="small", seed=seed, method=method, rows=32 if method == "paper" else 64)
        ledger.append(cell, measured(accuracy=0.5 + 0.25 * seed, collapsed=seed == 0, met=MET[method], **RUN), "abc")
    page.main(["--results", str(ledger.path), "--out", str(tmp_path)])
    return tmp_path


class TestPage:
    def test_accuracies_are_means_over_seeds_with_the_collapsed_runs_counted(self, written: Path) -> None:
        lines = (written / "real_models.md").read_text("utf-8").splitlines()
        [head] = [line for line in lines if line.startswith("| method | sst2")]
        assert head == "| method | sst2 | cities |"
        accuracies = [line for line in lines if "0.625 ± 0.177 [1]" in line]
        assert [line.split("|")[1].strip() for line in accuracies] == ["`zero_shot`", "`paper`, N = 32", "`default`"]

    def test_the_choice_among_labellings_met_is_judged_run_by_run(self, written: Path) -> None:
        choice = Summary(Ledger(written / "results.jsonl").read()).choices()["small", "sst2", "default"]
        assert choice.correlation == pytest.approx(0.31622776601683794)
        assert choice.near == 0.5  # the run that ended at 0.75 missed nothing, the one at 0.5 lost a quarter
        assert choice.lost == pytest.approx(0.125)
        assert set(Summary({}).choices()) == set()

    def test_plots_are_drawn_and_shown(self, written: Path) -> None:
        text = (written / "real_models.md").read_text("utf-8")
        for name in ("accuracy", "cost", "measure"):
            assert f"(real_models/{name}.svg)" in text
            assert (written / "real_models" / f"{name}.svg").read_text("utf-8").rstrip().endswith("</svg>")

    def test_without_cells_there_is_no_page(self, tmp_path: Path) -> None:
        with pytest.raises(SystemExit):
            page.main(["--results", str(tmp_path / "none.jsonl"), "--out", str(tmp_path)])


def cells(*accuracies: tuple[float, float, float]) -> dict[Cell, Mapping[str, object]]:
    """For each seed the accuracies of the search, of calibrated zero-shot and of calibrated gold many-shot."""
    methods = ("default", "zero_shot_calibrated", "gold_many_shot_calibrated")
    return {
        Cell(task="sst2", model="small", seed=seed, method=method, rows=64): measured(accuracy=accuracy)
        for seed, found in enumerate(accuracies)
        for method, accuracy in zip(methods, found, strict=True)
    }


class TestYardsticks:
    def test_differences_are_paired_by_seed_and_have_an_interval_by_students_t(self) -> None:
        [line] = yardsticks.lines(cells((0.9, 0.8, 0.9), (0.8, 0.8, 0.7), (0.85, 0.75, 0.8)))
        assert line == ("small", "sst2", "3", "0.850", "+0.067 ± 0.143", "+0.050 ± 0.124", "+0.000", "0.780", "yes")

    @pytest.mark.parametrize(
        ("accuracies", "reached"),
        [
            ([(0.8, 0.81, 0.7)], "yes"),  # within 0.01 of calibrated zero-shot
            ([(0.79, 0.81, 0.7)], "no"),
            ([(0.8, 0.7, 0.82)], "yes"),  # within 0.02 of gold
            ([(0.79, 0.7, 0.82)], "no"),
            ([(0.7, 0.76, 0.7), (0.9, 0.76, 0.7)], "no"),  # one run far below calibrated zero-shot
        ],
    )
    def test_the_mark_is_the_better_yardstick_and_no_run_far_below_zero_shot(
        self, accuracies: list[tuple[float, float, float]], reached: str
    ) -> None:
        [line] = yardsticks.lines(cells(*accuracies))
        assert line[-1] == reached

    def test_a_seed_that_lacks_a_method_is_left_out(self) -> None:
        found = cells((0.9, 0.8, 0.9), (0.1, 0.1, 0.1))
        del found[Cell(task="sst2", model="small", seed=1, method="default", rows=64)]
        [line] = yardsticks.lines(found)
        assert line[2:4] == ("1", "0.900")
