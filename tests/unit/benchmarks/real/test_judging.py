"""How verdicts, estimates and labels of the benchmark on real language models are judged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import ClassVar

import pytest

from benchmarks.real import confidences, quality, verdicts
from benchmarks.real.cells import Cell, Measured
from benchmarks.real.known import estimates
from service.identifiers import Label, Row
from service.jobs.reporting.verdicts import Verdict
from tests.unit.benchmarks.real.small import measured


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
        [found] = verdicts.judged(self.kept(gold=gold, gain_nats=gain, known_rows=None))
        assert (found.verdict, found.is_right) == (verdict, is_right)

    @pytest.mark.parametrize(
        ("right", "verdict"), [(14, Verdict.OK), (10, Verdict.DO_NOT_USE), (4, Verdict.DO_NOT_USE)]
    )
    def test_known_rows_decide_where_labels_tell_the_language_model_nothing(self, right: int, verdict: Verdict) -> None:
        [found] = verdicts.judged(self.kept(gain_nats=-0.1, known_right=right))
        assert found.verdict is verdict

    def test_the_confusion_table_counts_and_names_surprises(self) -> None:
        found = verdicts.judged(self.kept(gold=0.9)) + verdicts.judged(self.kept(gain_nats=0.0, known_rows=None))
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

    def test_confidence_stands_beside_accuracy_for_runs_that_hold_it(self) -> None:
        [cell, gold] = kept = self.kept(known_rows=None, known_right=None)
        assert list(confidences.lines(kept)) == []
        held = {"confidence": 0.9, "calibration_error_by_chance": 0.05, "squared_calibration_error": 0.0081}
        unsure = {**kept[cell], **held, "confidence": 0.8, "facts": {**kept[cell]["facts"], "expected_accuracy": 0.8}}
        runs = {cell: {**kept[cell], **held}, replace(cell, seed=1): unsure}
        [line] = confidences.lines({**runs, gold: {**kept[gold], **held}})
        assert line == ("small", "sst2", "2", "1", "0.800", "0.850", "0.100", "0.050", "0.090")

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

    def test_confidence_is_the_mean_probability_of_the_labels(self) -> None:
        scores = {Row(0): (math.log(0.8), math.log(0.2)), Row(1): (math.log(0.4), math.log(0.6))}
        assert quality.confidence({Row(0): Label(0), Row(1): Label(0)}, scores) == pytest.approx(0.6)

    @pytest.mark.parametrize(("rows", "expected"), [(1, 0.32), (2, 0.256), (1000, 0.0101)])
    def test_few_rows_show_a_calibration_error_by_chance(self, rows: int, expected: float) -> None:
        labels = {Row(number): Label(0) for number in range(rows)}
        scores = dict.fromkeys(labels, (math.log(0.8), math.log(0.2)))
        assert quality.calibration_error_by_chance(labels, scores) == pytest.approx(expected, abs=1e-4)
        sure = dict.fromkeys(labels, (0.0, -math.inf))
        assert quality.calibration_error_by_chance(labels, sure) == 0

    @pytest.mark.parametrize(("claimed", "root"), [(0.0, 0.0), (0.1, 0.1), (-0.2, 0.2)])
    def test_without_the_part_of_chance_the_error_is_that_of_the_confidence(self, claimed: float, root: float) -> None:
        rng = Random(4)
        squares, plain = [], []
        for _ in range(200):
            chances = [rng.uniform(0.5, 0.9) for _ in range(128)]
            gold = {Row(number): Label(int(rng.random() > chance)) for number, chance in enumerate(chances)}
            said = [chance + claimed for chance in chances]
            scores = {Row(number): (math.log(one), math.log(max(1e-9, 1 - one))) for number, one in enumerate(said)}
            labels = dict.fromkeys(gold, Label(0))
            squares.append(quality.squared_calibration_error(labels, scores, gold))
            plain.append(quality.calibration_error(labels, scores, gold))
        assert math.sqrt(max(0.0, sum(squares) / 200)) == pytest.approx(root, abs=0.025)
        assert sum(plain) / 200 > (0.0 if claimed else 0.03)

    def test_ranks_grow_with_the_values(self) -> None:
        assert all(one < other for one, other in pairwise(quality.ranks([0.1, 0.4, 9.0])))
