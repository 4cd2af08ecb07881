"""The benchmark on real language models: what it draws, asks, measures and keeps; here on the small model."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import ClassVar

import numpy as np
import pytest

from benchmarks.local import resolve
from benchmarks.real import ablations, page, quality, verdicts
from benchmarks.real.__main__ import check_fingerprint, main
from benchmarks.real.calibration import calibrated
from benchmarks.real.cells import Bench, Cell, Measured, problem_of
from benchmarks.real.execution import Made
from benchmarks.real.joint_inference import balanced_draw
from benchmarks.real.known import estimates
from benchmarks.real.ledger import Ledger
from benchmarks.real.methods import METHODS
from benchmarks.real.outcome import Material, from_scores
from benchmarks.real.scorer import Loaded, RealScorer
from benchmarks.real.summary import Summary
from benchmarks.real.tasks import TASKS, Drawn, draw
from inference.settings import SMALL_MODEL
from service.config import JobConfig, Task
from service.identifiers import Label, Row
from service.jobs.judgement import Verdict
from service.search.problem import Problem
from service.search.prompt_tree import PromptTree, Query, TreeScores, Usage
from service.search.steps import Request
from tests.toy import ToyWorld

ROWS = 8
CELL = Cell(task="sst2", model="small", seed=0, method="zero_shot", rows=ROWS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "real").mkdir()
    words = ("fine", "dull", "warm", "slow", "bright", "flat", "neat", "stale")
    reviews = [
        {"text": f"a {one} and {other} film", "label": ("positive", "negative")[number % 2]}
        for number, (one, other) in enumerate((one, other) for one in words for other in words)
    ]
    topics = ("World", "Sports", "Business", "Technology")
    titles = [{"text": f"Headline number {number}", "label": topics[number % 4]} for number in range(64)]
    twins = [
        {"statement": f"{one} is larger than {other}.", "n1": one, "n2": other, "label": one > other}
        for first in range(20, 60)
        for one, other in ((first, first + 7), (first + 7, first))
    ]
    for name, rows in (("real/sst2", reviews), ("real/ag_titles", titles), ("larger_than", twins)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def small() -> Loaded:
    return Loaded.of(str(SMALL_MODEL))


def problem(small: Loaded, drawn: Drawn) -> tuple[Problem, RealScorer]:
    scorer = RealScorer(small, drawn.config.task.labels, drawn.texts[Row(0)])
    return problem_of(drawn, scorer), scorer


@dataclass
class ToyScorer:
    """A toy world that scores trees."""

    world: ToyWorld
    usage: Usage = field(default_factory=Usage)

    def answer(self, request: Request) -> list[TreeScores]:
        return [self.world.answer(tree) for tree in request]

    def count(self, text: str) -> int:
        return len(text)


def toy(classes: int, *, home: float = 1.0, rows: int = 12) -> tuple[Material, ToyScorer]:
    """Rows of a toy world, and four more as known ones."""
    world = ToyWorld(rows=rows + 4, classes=classes, related=False, seed=1, home=home)
    whole = world.problem()
    inside = {row: text for row, text in whole.texts.items() if row < rows}
    known = [(text, world.planted[row]) for row, text in whole.texts.items() if row not in inside]
    material = Material(
        config=JobConfig(task=Task(template="{text}", labels=list(whole.labels))),
        problem=replace(whole, texts=inside),
        gold={row: world.planted[row] for row in inside},
        known=known,
        known_tokens=[len(text) for text, _ in known],
    )
    return material, ToyScorer(world)


class TestTasks:
    def test_related_rows_are_drawn_together(self, data: Path) -> None:
        drawn = draw("larger_than", data, 10, seed=3)
        assert [len(constraint.rows) for constraint in drawn.constraints] == [2] * 5
        for constraint in drawn.constraints:
            assert sorted(drawn.gold[row] for row in constraint.rows) == [0, 1]

    def test_a_thinned_task_has_exactly_the_shares_it_says_in_its_known_rows_too(self, data: Path) -> None:
        drawn = draw("sst2_80_20", data, 20, seed=1, known=5)
        assert Counter(drawn.gold.values()) == {0: 16, 1: 4}
        assert Counter(label for _, label in drawn.known) == {0: 4, 1: 1}

    def test_other_words_for_the_labels_change_the_gold_labels_and_not_the_rows(self, data: Path) -> None:
        plain, swapped = draw("sst2", data, ROWS, seed=2), draw("sst2_swapped", data, ROWS, seed=2)
        assert plain.texts == swapped.texts
        assert plain.gold == {row: 1 - label for row, label in swapped.gold.items()}
        letters = draw("ag_letters", data, ROWS, seed=2)
        assert letters.config.task.labels == ["A", "B", "C", "D"]
        assert letters.gold == draw("ag_titles", data, ROWS, seed=2).gold

    def test_known_rows_are_none_of_the_rows_to_be_labelled(self, data: Path) -> None:
        drawn = draw("sst2", data, 40, seed=0)
        assert len(drawn.known) == 16
        assert {text for text, _ in drawn.known}.isdisjoint(drawn.texts.values())

    def test_the_seed_decides_the_rows(self, data: Path) -> None:
        assert draw("sst2", data, ROWS, seed=0).texts == draw("sst2", data, ROWS, seed=0).texts
        assert draw("sst2", data, ROWS, seed=0).texts != draw("sst2", data, ROWS, seed=1).texts

    def test_more_rows_than_there_are_is_an_error(self, data: Path) -> None:
        with pytest.raises(ValueError, match="too few rows"):
            draw("sst2", data, 60, seed=0)


class TestScorer:
    def test_a_label_of_several_tokens_has_the_probability_of_all_of_them(self, small: Loaded) -> None:
        labels = ("True", "True or False", "Trueness")
        scorer = RealScorer(small, labels, "Is it")
        [scores] = scorer.answer([PromptTree("Well. ", (Query(Row(0), "Is it"),))])
        expected = [self.chain(small, "Well. Is it", f" {label}") for label in labels]
        assert scores.log_probabilities[Row(0)] == pytest.approx(expected, abs=1e-4)
        assert scorer.usage.prompts > 1

    @staticmethod
    def chain(small: Loaded, prompt: str, label: str) -> float:
        before, whole = small.tokenizer.encode(prompt), small.tokenizer.encode(prompt + label)
        plain = small.language_model.plain
        return sum(
            float(plain(np.array(whole[:place], np.int32))[whole[place]]) for place in range(len(before), len(whole))
        )

    def test_labels_that_read_alike_are_refused(self, small: Loaded) -> None:
        with pytest.raises(ValueError, match="apart"):
            RealScorer(small, ("True", "True"), "Is it")


class TestCalibration:
    def test_the_mean_prediction_becomes_even_though_one_label_was_always_likeliest(self) -> None:
        rng = Random(0)
        raw = {Row(number): tuple(rng.gauss(mean, 1.0) for mean in (6.0, 0.0, -3.0)) for number in range(60)}
        found = calibrated(from_scores(raw))
        probabilities = np.exp(np.array(list(found.scores.values())))
        assert probabilities.sum(axis=1) == pytest.approx(1.0)
        assert probabilities.mean(axis=0) == pytest.approx(1 / 3, abs=1e-5)
        assert len(set(found.labels.values())) == 3

    def test_even_predictions_stay_as_they_are(self) -> None:
        raw = {Row(0): (math.log(0.9), math.log(0.1)), Row(1): (math.log(0.1), math.log(0.9))}
        assert calibrated(from_scores(raw)).scores == {row: pytest.approx(values) for row, values in raw.items()}


class TestMethods:
    @pytest.mark.parametrize("name", METHODS)
    @pytest.mark.parametrize("classes", [2, 3])
    def test_every_method_labels_every_row(self, name: str, classes: int) -> None:
        material, scorer = toy(classes)
        method = METHODS[name]
        outcome = method.read(resolve(method.find(material), scorer))
        assert set(outcome.labels) == set(material.problem.rows)
        assert set(outcome.scores) == set(outcome.labels)
        for row in outcome.labels:
            assert math.fsum(map(math.exp, outcome.scores[row])) == pytest.approx(1.0)
        json.dumps(outcome.facts)

    @pytest.mark.parametrize("name", METHODS)
    def test_only_a_method_that_says_so_finds_other_labels_when_gold_is_another(self, name: str) -> None:
        material, scorer = toy(2, home=0.2)
        wrong = replace(
            material,
            gold={row: Label(1 - label) for row, label in material.gold.items()},
            known=[(text, Label(1 - label)) for text, label in material.known],
        )
        first, second = (resolve(METHODS[name].find(some), scorer) for some in (material, wrong))
        assert (first.scores != second.scores) == bool(METHODS[name].gold)

    def test_known_rows_stand_before_every_row(self) -> None:
        material, _ = toy(2)
        [tree] = next(METHODS["gold_few_shot"].find(material))
        shown = "".join(f"{text} {material.problem.labels[label]}\n" for text, label in material.known)
        assert dict(tree.prompts()) == {row: shown + text for row, text in material.problem.texts.items()}

    def test_a_search_tells_every_labelling_that_a_sweep_has_measured(self) -> None:
        material, scorer = toy(2)
        outcome = resolve(METHODS["default"].find(material), scorer)
        assert [met.measure for met in outcome.met] == outcome.facts["sweep_utilities"]
        assert len(outcome.met) > 1
        assert all(set(met.labels) == set(material.problem.rows) for met in outcome.met)

    def test_the_last_look_is_read_again_without_each_piece_and_as_it_is(self) -> None:
        material, scorer = toy(2, rows=48)
        outcome = resolve(METHODS["default"].find(material), scorer)
        assert set(outcome.ablated) == {*ablations.PIECES, ablations.WHOLE}
        assert outcome.ablated[ablations.WHOLE] == outcome.labels
        assert all(set(labels) == set(outcome.labels) for labels in outcome.ablated.values())

    def test_a_piece_is_worth_the_difference_to_the_whole(self) -> None:
        runs = [
            {ablations.WHOLE: 0.75, ablations.RAW: 0.5},
            {ablations.WHOLE: 0.5, ablations.RAW: 0.5},
            {ablations.RAW: 0.9},
        ]
        assert ablations.differences(runs) == {ablations.RAW: [-0.25, 0.0]}

    def test_known_rows_keep_their_labels_and_are_not_measured(self) -> None:
        material, scorer = toy(2)
        outcome = resolve(METHODS["default_known"].find(material), scorer)
        assert outcome.facts["known_kept"] is True
        assert outcome.facts["known_rows"] == len(material.known)
        assert set(outcome.labels) == set(outcome.met[0].labels) == set(material.problem.rows)

    def test_prompts_behind_all_gold_labels_never_show_a_row_its_own(self, small: Loaded, data: Path) -> None:
        drawn = draw("sst2", data, ROWS, seed=0)
        asked, _ = problem(small, drawn)
        material = Material(config=drawn.config, problem=asked, gold=drawn.gold, known=(), known_tokens=())
        [tree] = next(METHODS["gold_many_shot"].find(material))
        for row, prompt in tree.prompts():
            assert prompt.count(asked.texts[row]) == 1
            assert sum(text in prompt for text in asked.texts.values()) == ROWS

    def test_a_balanced_draw_shows_every_label_equally_often_and_none_of_the_rows_asked(self) -> None:
        asked = toy(2)[0].problem
        labels = {row: Label(int(row < 2)) for row in asked.rows}
        drawn = balanced_draw(asked, labels, {Row(0), Row(7)}, Random(0))
        assert Counter(labels[row] for row in drawn) == {0: 8, 1: 8}
        assert {Row(0), Row(7)}.isdisjoint(drawn)
        assert len(balanced_draw(asked, dict.fromkeys(asked.rows, Label(0)), {Row(0)}, Random(0))) == 16

    def test_fewer_demonstrations_are_drawn_where_no_more_fit(self) -> None:
        asked = toy(2)[0].problem
        tight = replace(asked, demonstration_tokens=dict.fromkeys(asked.rows, 10), budget_tokens=35)
        assert len(balanced_draw(tight, dict.fromkeys(asked.rows, Label(0)), set(), Random(0))) == 3

    def test_joint_inference_recovers_labels_that_agree_with_one_another(self) -> None:
        material, scorer = toy(2, home=0.8)
        outcome = resolve(METHODS["joint_inference"].find(material), scorer)
        assert outcome.labels == material.gold


class TestCells:
    def test_a_row_that_does_not_fit_the_context_is_an_error(self, small: Loaded, data: Path) -> None:
        drawn = draw("sst2", data, ROWS, seed=0)
        long = replace(drawn, texts={**drawn.texts, Row(1): "a fine film " * small.language_model.context_tokens})
        with pytest.raises(ValueError, match="does not fit"):
            problem(small, long)

    def test_a_cell_says_what_was_found_and_what_it_cost(self, small: Loaded, data: Path) -> None:
        bench = Bench(small, data)
        raw, even = (
            bench.measure(Cell(task="larger_than", model="small", seed=0, method=name, rows=ROWS))
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

    def test_cells_are_made_once_and_one_that_cannot_be_made_keeps_the_others(self, data: Path, tmp_path: Path) -> None:
        out = tmp_path / "new" / "results.jsonl"
        assert main(self.words(data, out, "larger_than", "cities")) == 1  # there is no file for cities
        first = out.read_text()
        assert Counter(cell.task for cell in Ledger(out).read()) == {"larger_than": 4}
        assert main(self.words(data, out, "larger_than", "sst2")) == 0
        assert out.read_text().startswith(first)
        assert Counter(cell.task for cell in Ledger(out).read()) == {"larger_than": 4, "sst2": 4}
        whole = out.read_text()
        assert main(self.words(data, out, "larger_than", "sst2")) == 0
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


class TestPage:
    @pytest.fixture
    def written(self, tmp_path: Path) -> Path:
        ledger = Ledger(tmp_path / "results.jsonl")
        for task, seed, method in itertools.product(("sst2", "cities"), (0, 1), ("zero_shot", "default", "paper")):
            cell = Cell(task=task, model="small", seed=seed, method=method, rows=32 if method == "paper" else 64)
            ledger.append(
                cell, measured(accuracy=0.5 + 0.25 * seed, collapsed=seed == 0, met=MET[method], **RUN), "abc"
            )
        page.main(["--results", str(ledger.path), "--out", str(tmp_path)])
        return tmp_path

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


MET: Mapping[str, list[list[float]]] = {
    "zero_shot": [],
    "paper": [],
    "default": [[-9.0, 0.6], [-7.0, 0.5], [-8.0, 0.5], [-6.0, 0.75]],
}


RUN: Mapping[str, object] = {
    "shares": {"positive": 0.5, "negative": 0.5, "True": 0.5, "False": 0.5}, "conflicts": 0, "unsure": 0,
    "facts": {"stop": "converged"},
}  # fmt: skip


def measured(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "auroc": None, "calibration_error": 0.1, "utility": -20.0, "sent": 2.0, "computed": 1.0, "seconds": 3.0,
    }  # fmt: skip
    return usual | changes


class TestVerdicts:
    """Labels of the default at 0.80 of the rows, beside calibrated gold many-shot prompting."""

    FACTS: ClassVar[Mapping[str, object]] = {
        "stop": "converged", "gain_nats": 0.3, "entropy_nats": 0.69, "sample_rows": 64,
        "sample_utility": 15.0, "permuted_utility": -15.0, "restart_agreement": 0.9, "known_rows": 16,
        "known_right": 12, "known_kept": True,
    }  # fmt: skip

    def kept(self, *, gold: float = 0.8, method: str = "default", **facts: object) -> dict[Cell, Measured]:
        cell = Cell(task="sst2", model="small", seed=0, method=method, rows=100)
        run = measured(
            accuracy=0.8,
            shares={"positive": 0.5, "negative": 0.5},
            conflicts=0,
            unsure=0,
            facts={**self.FACTS, **facts},
        )
        return {cell: run, replace(cell, method=verdicts.REFERENCE): measured(accuracy=gold)}

    @pytest.mark.parametrize(
        ("gold", "gain", "verdict", "is_right"),
        [
            (0.85, 0.3, Verdict.OK, True),
            (0.86, 0.3, Verdict.OK, False),
            (0.85, 0.0, Verdict.DO_NOT_USE, True),
            (0.86, 0.0, Verdict.DO_NOT_USE, False),
        ],
    )
    def test_labels_nearly_as_good_as_gold_prompting_are_right_whatever_the_verdict(
        self, gold: float, gain: float, verdict: Verdict, *, is_right: bool
    ) -> None:
        [found] = verdicts.judged(self.kept(gold=gold, gain_nats=gain))
        assert (found.verdict, found.is_right) == (verdict, is_right)

    def test_the_confusion_table_counts_and_names_surprises(self) -> None:
        found = verdicts.judged(self.kept(gold=0.9)) + verdicts.judged(self.kept(gain_nats=0.0))
        lines = verdicts.confusion(found).splitlines()
        assert [line.split("|")[1:-1] for line in lines[2:]] == [
            [" right ", " 0 ", " 0 ", " 1 "], [" wrong ", " 1 ", " 0 ", " 0 "],
        ]  # fmt: skip
        assert [(line[1], line[2]) for line in verdicts.surprises(found)] == [
            ("`ok`", "wrong"), ("`do_not_use`", "right"),
        ]  # fmt: skip

    def test_runs_without_the_reference_are_not_judged(self) -> None:
        [cell, _] = kept = self.kept()
        assert verdicts.judged({cell: kept[cell]}) == []

    def test_an_estimate_covers_the_accuracy_or_not(self) -> None:
        kept = self.kept(method="default_known")
        assert list(estimates(kept)) == [("small", "sst2", "1", "0.800", "0.750", "1 of 1", "1 of 1")]
        missed = self.kept(method="default_known", known_right=3, known_kept=False)
        assert list(estimates(missed)) == [("small", "sst2", "1", "0.800", "0.188", "0 of 1", "0 of 1")]


class TestQuality:
    @pytest.mark.parametrize(
        ("first", "second", "rho"),
        [
            ((1, 2, 3), (10, 20, 25), 1.0),
            ((1, 2, 3), (3, 2, 1), -1.0),
            ((1, 2, 2, 3), (1, 3, 2, 4), 0.9486832980505138),
        ],
    )
    def test_rank_correlation(self, first: Sequence[float], second: Sequence[float], rho: float) -> None:
        assert quality.rank_correlation(first, second) == pytest.approx(rho)

    def test_what_does_not_vary_has_no_rank_correlation(self) -> None:
        assert quality.rank_correlation((1.0, 1.0), (1.0, 2.0)) is None
        assert quality.rank_correlation((1.0,), (1.0,)) is None

    def test_the_area_under_the_curve_counts_pairs_in_the_right_order_and_ties_by_half(self) -> None:
        margins = (2.0, 0.5, 0.5, -1.0)
        scores = {Row(number): (margin, 0.0) for number, margin in enumerate(margins)}
        gold = {Row(0): Label(0), Row(1): Label(0), Row(2): Label(1), Row(3): Label(1)}
        assert quality.auroc(scores, gold) == pytest.approx(3.5 / 4)
        assert quality.auroc(scores, dict.fromkeys(gold, Label(0))) is None

    def test_sure_and_wrong_is_badly_calibrated(self) -> None:
        rows = [Row(number) for number in range(10)]
        scores = dict.fromkeys(rows, (math.log(0.8), math.log(0.2)))
        labels = dict.fromkeys(rows, Label(0))
        gold = {row: Label(int(row >= 8)) for row in rows}
        assert quality.calibration_error(labels, scores, gold) == pytest.approx(0.0)
        assert quality.calibration_error(labels, scores, dict.fromkeys(rows, Label(1))) == pytest.approx(0.8)

    def test_ranks_grow_with_the_values(self) -> None:
        assert all(one < other for one, other in pairwise(quality.ranks([0.1, 0.4, 9.0])))


def test_every_task_is_a_whole_configuration(data: Path) -> None:
    assert [name for name, task in TASKS.items() if not (task.config.get("task") or task.config.get("preset"))] == []
