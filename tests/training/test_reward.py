"""Reward models: trained on pairs, resumed, and evaluated for length bias, position bias and calibration."""

import json
import signal
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import Finished
from tests.training.running import refused, run
from tests.training.test_interruptions import ended_at
from tests.training.test_run import adapter_bytes, read
from tests.training.written import pairs, reward_spec
from training.kinds.preference import Judged, calibration, quality
from training.kinds.reward_training import margin

pytestmark = pytest.mark.timeout(300)  # processes are loaded, which takes long where many are


def test_the_better_text_is_learned(reward_model: Finished) -> None:
    assert reward_model.training.connections == ""
    report = read(reward_model.out / "report.json")
    last = report["training"]["epochs"][-1]["held_out"]
    assert last["accuracy"] > 0.9
    assert last["nats"] < report["before"]["untrained"]["nats"] / 2
    assert last["position"]["first_chosen"] == pytest.approx(1 / 3, abs=0.2)
    assert sorted(adapter_bytes(reward_model.out)) == ["adapter_config.json", "adapter_model.safetensors"]
    assert str(reward_model.out) not in json.dumps([read(path) for path in reward_model.out.glob("*.json")])


def test_a_stopped_training_resumes_to_the_same_bytes(
    reward_model: Finished, forks: ForkServerContext, tmp_path: Path
) -> None:
    stopped = ended_at(forks, reward_model.spec, tmp_path / "out", 3, signal.SIGTERM)
    assert stopped.wait() == 75
    status, resumed = run(forks, reward_model.spec, tmp_path / "out")
    assert status == 0
    assert resumed.events("start")[0]["step"] > 2
    assert adapter_bytes(tmp_path / "out") == adapter_bytes(reward_model.out)


def test_equal_texts_are_refused(tmp_path: Path) -> None:
    spec = reward_spec(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"chosen": "a", "rejected": "a"}\n')
    status, end = refused(spec, tmp_path / "out")
    assert status == 2
    assert "examples, line 1: chosen and rejected are the same text" in end["reason"]


def test_a_text_over_the_context_is_refused_by_line_and_field(tmp_path: Path) -> None:
    spec = reward_spec(tmp_path)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"chosen": "a", "rejected": "one " * 9000}) + "\n")
    status, end = refused(spec, tmp_path / "out")
    assert status == 2
    assert "examples, line 1: rejected: takes" in end["reason"]


def judged(gaps: list[float], lengths: list[tuple[int, int]], first: list[bool | None]) -> Judged:
    chosen = np.array(gaps)
    return Judged(chosen, np.zeros(len(gaps)), [one for one, _ in lengths], [other for _, other in lengths], first)


def test_a_reward_that_goes_by_length_is_named() -> None:
    found = quality(judged([2.0, 1.0, -1.0, -2.0], [(9, 2), (8, 3), (2, 9), (3, 8)], [None] * 4))
    assert found["accuracy"] == 0.5
    assert found["length"]["longer_chosen"] == 0.5
    assert found["length"]["accuracy_where_longer_is_right"] == 1.0
    assert found["length"]["accuracy_where_shorter_is_right"] == 0.0
    assert found["length"]["reward_by_length"] > 0.5
    assert found["position"] == {
        "first_chosen": None,
        "accuracy_where_first_is_right": None,
        "accuracy_where_second_is_right": None,
    }


def test_the_place_of_the_chosen_text_is_counted() -> None:
    found = quality(judged([1.0, 1.0, -1.0, 1.0], [(2, 2)] * 4, [True, True, False, None]))["position"]
    assert found["first_chosen"] == pytest.approx(2 / 3)
    assert (found["accuracy_where_first_is_right"], found["accuracy_where_second_is_right"]) == (1.0, 0.0)


def test_accuracy_by_gold_counts_the_pairs_that_have_it() -> None:
    found = judged([1.0, 1.0, -1.0, -1.0, 1.0], [(2, 2)] * 5, [None] * 5)
    assert quality(found)["gold_accuracy"] is None
    with_gold = replace(found, gold_agrees=[True, False, True, False, None])
    assert (quality(with_gold)["accuracy"], quality(with_gold)["gold_accuracy"]) == (0.6, 0.5)


def test_a_control_by_gold_needs_it_on_every_pair(tmp_path: Path) -> None:
    spec = reward_spec(tmp_path, controls=["noise"])
    status, end = refused(spec, tmp_path / "out")
    assert status == 2
    assert "controls: noise needs gold on every pair, and line 1 has none (64 pairs in all)" in end["reason"]


@pytest.mark.long
def test_controls_by_gold_stand_beside_a_training_on_pairs_with_errors(
    forks: ForkServerContext, tmp_path: Path
) -> None:
    """One choice in four is wrong: by gold, what is learned from them is worse than from gold itself."""
    rows = [{**pair, "gold": "chosen"} for pair in pairs(64)]
    rows = [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"], "gold": "rejected"} if place % 4 == 0 else row
        for place, row in enumerate(rows)
    ]
    spec = reward_spec(tmp_path, rows, controls=["gold", "noise"])
    status, training = run(forks, spec, tmp_path / "out")
    assert status == 0, training.errors.read_text("utf-8")
    report = read(tmp_path / "out/report.json")
    by_gold = report["controls"]["gold"]["epochs"][-1]["held_out"]
    assert by_gold["gold_accuracy"] > 0.9
    assert by_gold["accuracy"] < 0.9, "it disagrees with the labels that are wrong"
    assert report["controls"]["noise"]["epochs"][-1]["held_out"]["rows"] == by_gold["rows"]
    assert report["training"]["epochs"][-1]["held_out"]["gold_accuracy"] is not None


def test_certainty_is_compared_with_accuracy() -> None:
    gap = float(np.log(0.75 / 0.25))
    honest = calibration(np.array([gap, gap, gap, -gap]))
    assert honest["error"] == pytest.approx(0, abs=1e-9)
    assert [(one["rows"], one["right"]) for one in honest["bins"]] == [(4, 0.75)]
    assert calibration(np.array([9.0, -9.0]))["error"] == pytest.approx(0.5, abs=1e-3)
    assert calibration(np.array([])) == {"error": None, "bins": []}


def test_without_held_out_rows_there_is_no_measurement() -> None:
    found = quality(judged([], [], []))
    assert (found["rows"], found["accuracy"], found["nats"]) == (0, None, None)


def test_surer_choices_get_wider_margins() -> None:
    assert [margin(confidence) for confidence in (0.3, 0.5, 0.75, 1.0)] == [0.0, 0.0, 0.5, 1.0]
