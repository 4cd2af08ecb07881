"""Cells of the benchmark on real language models: what is measured and kept; on the small model."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.real import execution
from benchmarks.real.__main__ import check_fingerprint, main
from benchmarks.real.cells import Bench, Cell
from benchmarks.real.execution import Made
from benchmarks.real.ledger import Ledger
from benchmarks.real.scorer import Loaded
from benchmarks.real.tasks import draw
from inference.settings import SMALL_MODEL
from service.identifiers import Row
from tests.support.forked import context
from tests.unit.benchmarks.real.small import CELL, ROWS, problem


class TestCells:
    def test_a_row_that_does_not_fit_the_context_is_an_error(self, small: Loaded, data: Path) -> None:
        drawn = draw("sst2", data, ROWS, seed=0)
        long = replace(drawn, texts={**drawn.texts, Row(1): "a fine film " * small.language_model.context_tokens})
        with pytest.raises(ValueError, match="does not fit"):
            problem(small, long)

    def test_a_cell_says_what_was_found_and_what_it_cost(self, small: Loaded, data: Path) -> None:
        unit = Bench(small, data)
        raw, even = (
            unit.measure(Cell(task="larger_than", model="small", seed=0, method=name, rows=ROWS))
            for name in ("zero_shot", "zero_shot_calibrated")
        )
        assert raw["tokens_computed"] == even["tokens_computed"] <= raw["tokens_sent"]
        assert raw["sent"] == pytest.approx(raw["tokens_sent"] / (ROWS * raw["demonstration_tokens"]), abs=1e-3)
        assert raw["gold_shares"] == {"True": 0.5, "False": 0.5}
        assert raw["auroc"] == even["auroc"]
        assert json.loads(json.dumps(raw)) == raw


class TestCommand:
    def words(self, data: Path, out: Path, *tasks: str) -> list[str]:
        return [
            *("--data", str(data), "--models", f"small={SMALL_MODEL}", "--tasks", *tasks, "--rows", "4"),
            *("--methods", "zero_shot", "zero_shot_calibrated", "--seeds", "2", "--out", str(out), "--threads", "1"),
        ]

    def test_cells_are_made_once_and_one_that_cannot_be_made_keeps_the_others(
        self, small: Loaded, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(execution, "get_context", lambda _: context())  # a process that has loaded torch
        out = tmp_path / "new" / "results.jsonl"
        kept = replace(CELL, task="larger_than", rows=4)
        Ledger(out).append(kept, {"accuracy": 0.125}, small.language_model.sha)
        first = out.read_text()
        assert main(self.words(data, out, "larger_than", "cities")) == 1  # there is no file for cities
        assert out.read_text().startswith(first)
        assert Counter(cell.task for cell in Ledger(out).read()) == {"larger_than": 4}
        whole = out.read_text()
        assert main(self.words(data, out, "larger_than")) == 0
        assert out.read_text() == whole

    def test_one_name_stands_for_one_language_model(self) -> None:
        kept = {CELL: {"accuracy": 1.0, "fingerprint": "one"}}
        check_fingerprint(kept, Made(CELL, {}, "one"))
        check_fingerprint(kept, Made(replace(CELL, model="other"), {}, "two"))
        with pytest.raises(ValueError, match="another language model"):
            check_fingerprint(kept, Made(replace(CELL, seed=1), {}, "two"))

    def test_what_a_crash_cut_off_is_made_again(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "results.jsonl")
        other = replace(CELL, seed=1)
        ledger.append(CELL, {"accuracy": 0.5}, "one")
        ledger.append(other, {"accuracy": 0.5}, "one")
        ledger.path.write_text(ledger.path.read_text()[:-9])
        assert set(ledger.read()) == {CELL}
        ledger.append(other, {"accuracy": 0.75}, "one")
        assert [measured["accuracy"] for measured in ledger.read().values()] == [0.5, 0.75]

    def test_the_later_of_two_lines_counts(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "results.jsonl")
        for accuracy in (0.5, 0.75):
            ledger.append(CELL, {"accuracy": accuracy}, "one")
        assert ledger.read()[CELL]["accuracy"] == 0.75

    def test_a_line_that_is_no_cell_is_an_error(self, tmp_path: Path) -> None:
        out = tmp_path / "results.jsonl"
        out.write_text('{"cell": {}}\n')
        with pytest.raises(ValueError, match="line 1"):
            Ledger(out).read()
