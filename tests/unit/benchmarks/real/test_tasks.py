"""What the benchmark on real language models draws, and how it scores; on the small model."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.real.scorer import Loaded, RealScorer
from benchmarks.real.tasks import TASKS, draw
from service.identifiers import Row
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.unit.benchmarks.real.small import ROWS


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

    @pytest.mark.parametrize(("task", "each"), [("sst2_swapped", 8), ("ag_letters", 4)])
    def test_known_rows_are_evenly_over_the_labels(self, data: Path, task: str, each: int) -> None:
        drawn = draw(task, data, ROWS, seed=0)
        assert Counter(label for _, label in drawn.known) == dict.fromkeys(range(len(drawn.config.task.labels)), each)

    def test_the_seed_decides_the_rows(self, data: Path) -> None:
        assert draw("sst2", data, ROWS, seed=0).texts == draw("sst2", data, ROWS, seed=0).texts
        assert draw("sst2", data, ROWS, seed=0).texts != draw("sst2", data, ROWS, seed=1).texts

    def test_more_rows_than_there_are_is_an_error(self, data: Path) -> None:
        with pytest.raises(ValueError, match="too few rows"):
            draw("sst2", data, 60, seed=0)


def test_every_task_is_a_whole_configuration(data: Path) -> None:
    assert [name for name, task in TASKS.items() if not (task.config.get("task") or task.config.get("preset"))] == []


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
