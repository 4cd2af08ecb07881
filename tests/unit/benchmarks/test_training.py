"""The benchmarks of training: measurements are kept, and the toy preferences have the stated properties."""

import json
from pathlib import Path

from benchmarks.tables import spread
from benchmarks.training.claims import length_pairs, prompts, truth_pairs
from benchmarks.training.records import Records
from benchmarks.training.tables import tables


def test_a_case_is_measured_once_whatever_order_its_names_have(tmp_path: Path) -> None:
    path = tmp_path / "folder/results.jsonl"
    made: list[int] = []

    def make() -> dict[str, int]:
        made.append(len(made))
        return {"value": len(made)}

    assert Records(path).kept({"task": "a", "seed": 0}, make) == {"value": 1}
    assert Records(path).kept({"seed": 0, "task": "a"}, make) == {"value": 1}
    assert Records(path).kept({"seed": 1, "task": "a"}, make) == {"value": 2}
    assert [case["seed"] for case, _ in Records(path).all()] == [0, 1]


def test_a_line_that_a_crash_cut_off_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    whole = json.dumps({"case": {"seed": 0}, "measured": {"value": 1}}) + "\n"
    path.write_text(whole + '{"case": {"seed": 1}, "meas')
    records = Records(path)
    assert len(records.all()) == 1
    assert records.kept({"seed": 1}, lambda: {"value": 5}) == {"value": 5}
    assert [measured["value"] for _, measured in records.all()] == [1, 5]


def claim(prompt: str, ending: str) -> bool:
    """Whether the last claim of a prompt is true with this ending."""
    return int(prompt.rpartition("\n")[2].split()[0]) > int(ending.split(maxsplit=1)[0])


def test_of_two_endings_the_chosen_one_makes_the_claim_true() -> None:
    pairs = truth_pairs(200, seed=0)
    assert all(claim(pair["prompt"], pair["chosen"]) for pair in pairs)
    assert not any(claim(pair["prompt"], pair["rejected"]) for pair in pairs)
    assert pairs == truth_pairs(200, seed=0) != truth_pairs(200, seed=1)


def test_the_reward_that_can_be_hacked_prefers_the_longer_ending_true_or_not() -> None:
    pairs = length_pairs(200, seed=0)
    assert all(len(pair["chosen"].split()) > len(pair["rejected"].split()) for pair in pairs)
    truths = [claim(pair["prompt"], pair["chosen"]) for pair in pairs]
    assert 0.3 < sum(truths) / len(truths) < 0.7


def test_prompts_end_before_the_second_number() -> None:
    assert all(row["prompt"].endswith(" is larger than") for row in prompts(20, seed=0))


def test_tables_have_a_line_for_each_task_and_say_where_nothing_was_measured() -> None:
    cell = {"task": "cities", "seed": 0}
    trained = {"accuracy": 0.75, "cpu_seconds": 4.0, "peak_mb": 500}
    told = tables(
        [
            ({**cell, "part": "search"}, {"accuracy": 1.0}),
            ({**cell, "part": "zero_shot"}, {"accuracy": 0.5, "calibrated": 0.7}),
            ({**cell, "part": "found"}, trained),
        ]
    )
    assert told.splitlines()[-1] == "| cities | 1 | 1.000 | 0.500 | 0.700 | 0.750 | - | - | 4.0 | 500 MB |"


def test_a_spread_is_a_mean_with_its_standard_deviation() -> None:
    assert spread([0.5, 1.0]) == "0.750 ± 0.354"
    assert (spread([0.5]), spread([])) == ("0.500", "-")
