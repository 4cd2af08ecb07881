"""The labelling methods of the benchmark on real language models, in toy worlds."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.local import resolve
from benchmarks.real import ablations
from benchmarks.real.calibration import calibrated
from benchmarks.real.joint_inference import balanced_draw
from benchmarks.real.methods import METHODS
from benchmarks.real.outcome import Material, from_scores
from benchmarks.real.scorer import Loaded
from benchmarks.real.tasks import draw
from service.identifiers import Label, Row
from service.search.strategies.gain_search import SWEEPS
from tests.unit.benchmarks.real.small import ROWS, problem, toy


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
    def test_every_method_labels_every_row(self, name: str) -> None:
        material, scorer = toy(3)
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

    def test_the_ablated_look_heeds_an_impression_that_agrees_with_its_own_labels_no_more_than_a_view(self) -> None:
        problem = toy(2, rows=41)[0].problem
        *others, doubted = problem.rows
        labels = {row: Label(row % 2) for row in others} | {doubted: Label(0)}
        told = {row: tuple(math.log(0.9 if label == labels[row] else 0.1) for label in (0, 1)) for row in others}
        view = {row: tuple(value / 2 for value in values) for row, values in told.items()} | {doubted: (-1.5, 0.0)}
        impression = {row: tuple(value * 3 for value in values) for row, values in told.items()} | {doubted: (2.2, 0.0)}
        scores = ablations.pooled(problem, labels, [view, view], impression)
        assert scores.keys() == set(problem.rows)
        assert scores[doubted][0] < scores[doubted][1]

    @pytest.mark.parametrize("wrong", [0, 4])
    def test_a_search_that_starts_at_gold_comes_to_the_labels_that_the_language_model_would_give(
        self, wrong: int
    ) -> None:
        material, scorer = toy(2, home=0.8, rows=32)
        own = material.gold
        gold = {row: Label(1 - label) if row < wrong else label for row, label in own.items()}
        outcome = resolve(METHODS["gold_redrawn"].find(replace(material, gold=gold)), scorer)
        assert outcome.labels == own
        assert all(labels == own for labels in outcome.ablated.values())
        gains = outcome.facts["gains_nats"]
        assert isinstance(gains, list)
        assert len(gains) == len(outcome.ablated) + 1 == SWEEPS
        assert gains[0] < min(gains[1:]) if wrong else gains[0] == pytest.approx(gains[1], abs=0.1)

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
