from typing import Any

from service.identifiers import Label, Row
from service.jobs.reporting.baselines import Baseline, compare
from service.jobs.reporting.ranking import found_gain, ranked, words_for

NAMES = ["yes", "no"]


def measured(name: str, gain: float, conflicts: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "gain_nats": gain,
        "conflicts": conflicts,
        "rows": 128,
        "demonstrations": [8, 32],
        "agreement": 0.9,
        "kappa": 0.8,
    }


def baselines(**said: str) -> list[Baseline]:
    labels = {name: {Row(row): Label(int(label)) for row, label in enumerate(text)} for name, text in said.items()}
    found = {Row(row): Label(row % 2) for row in range(8)}
    return compare(labels, found, {}, NAMES)


def test_labellings_stand_by_their_gain_and_those_not_measured_last() -> None:
    told = [measured("found", 0.2), measured("first_impression", -0.1), measured("start_random", 0.3)]
    rows = ranked(told, baselines(zero_shot="0111", few_shot_random="0101"), 50.0)
    assert [(row.name, row.gain_nats) for row in rows] == [
        ("start_random", 0.3),
        ("found", 0.2),
        ("first_impression", -0.1),
        ("zero_shot", None),
        ("few_shot_random", None),
    ]
    assert found_gain(rows) == 0.2
    assert [(row.rows, row.demonstrations) for row in rows[2:4]] == [(128, [8, 32]), (4, [])]


def test_a_baseline_that_gives_every_row_one_label_gains_nothing_by_definition() -> None:
    rows = ranked([measured("found", 0.2), measured("first_impression", -0.2)], baselines(zero_shot="1111"), 50.0)
    assert [(row.name, row.gain_nats) for row in rows] == [
        ("found", 0.2),
        ("zero_shot", 0.0),
        ("first_impression", -0.2),
    ]


def test_calibrated_zero_shot_is_listed_once() -> None:
    asked = baselines(zero_shot_calibrated="0101")
    assert [row.name for row in ranked([measured("first_impression", 0.1)], asked, 50.0)] == ["first_impression"]
    assert [row.name for row in ranked([], asked, 50.0)] == ["zero_shot_calibrated"]


def test_of_equal_gains_the_labels_found_stand_first() -> None:
    rows = ranked([measured("found", 0.2), measured("start_impression", 0.2)], [], 50.0)
    assert [row.name for row in rows] == ["found", "start_impression"]


def test_the_cost_of_conflicts_is_separate_from_the_gain() -> None:
    [row] = ranked([measured("found", 0.2, conflicts=5)], [], 50.0)
    assert (row.gain_nats, row.conflicts, row.conflict_nats) == (0.2, 5, 0.1)


def test_facts_of_a_later_release_do_no_harm() -> None:
    [row] = ranked([{**measured("found", 0.2), "views": 2}], [], 50.0)
    assert row.name == "found"


def test_baselines_have_their_agreement_beyond_chance() -> None:
    same, other = baselines(zero_shot="01010101", few_shot_random="00110011")
    assert (same.agreement, same.kappa) == (1.0, 1.0)
    assert (other.agreement, other.kappa) == (0.5, 0.0)


def test_where_nothing_was_measured_no_gain_is_known() -> None:
    assert found_gain(ranked([], baselines(zero_shot="0101"), 50.0)) is None


def test_every_labelling_has_words_of_its_own() -> None:
    names = ["found", "first_impression", "start_impression", "start_random", "start_permuted", "zero_shot", "other"]
    assert len({words_for(name) for name in names}) == len(names)
