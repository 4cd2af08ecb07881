"""Rows are read with the line at fault named; gold labels stay apart; held-out groups stay whole."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.written import write_rows
from training.data.examples import Example, read_examples, relabelled
from training.data.holdout import split
from training.data.pairs import digest_of, read_pairs
from training.errors import Refused

ROW: dict[str, Any] = {"prompt": "a", "label": "yes"}
PAIR: dict[str, Any] = {"chosen": "good", "rejected": "bad"}
LABELS = ("yes", "no")


def read(folder: Path, *rows: dict[str, Any]) -> Any:
    return read_examples(write_rows(folder / "rows.jsonl", rows), LABELS)


def test_rows_keep_their_order_lines_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "label": "no"}\n\n{"prompt": "b", "label": "yes", "weight": 0.5, "group": "g"}\n')
    rows = read_examples(path, LABELS).rows
    assert rows == (Example(1, "a", 1, 1.0, "\x001"), Example(3, "b", 0, 0.5, "g"))


def test_gold_is_no_part_of_a_row_nor_of_the_digest(tmp_path: Path) -> None:
    one, other = read(tmp_path, {**ROW, "gold": "yes"}), read(tmp_path, {**ROW, "gold": "no"})
    assert (one.gold, other.gold) == ((0,), (1,))
    assert one.rows == other.rows
    assert one.digest == other.digest != read(tmp_path, {**ROW, "label": "no"}).digest


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"label": "maybe"}, "label: 'maybe' is none of the labels 'yes', 'no'"),
        ({"label": True}, "label: must be a text, not true"),
        ({"gold": "maybe"}, "gold: 'maybe' is none of the labels"),
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"prompt": "\ud800"}, "prompt: has half a surrogate pair"),
        ({"weight": 1.5}, "weight: 1.5 is not a number from 0 to 1"),
        ({"weight": float("nan")}, "weight: nan is not a number from 0 to 1"),
        ({"weight": True}, "weight: must be a number, not true"),
        ({"wieght": 1}, "wieght: there is no such field; the fields are prompt, label, weight"),
    ],
)
def test_a_faulty_row_is_named_by_line_and_field(fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^examples, line 2: ") as refused:
        read(tmp_path, ROW, {**ROW, **fields})
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "line 1: is not JSON"),
        ("[1]", "line 1: is no JSON object"),
        ('{"prompt": "a"}', "line 1: label: is missing"),
        ("", "has no rows"),
        ("\udcff", "is not UTF-8 text"),
    ],
)
def test_a_line_that_is_no_row_is_reported(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Refused, match=told):
        read_examples(path, LABELS)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read: no such file"):
        read_examples(tmp_path / "none.jsonl", LABELS)


def test_relabelled_rows_differ_in_nothing_else() -> None:
    assert relabelled([Example(4, "a", 0, 0.5, "g")], [1]) == [Example(4, "a", 1, 0.5, "g")]


def test_pairs_stand_behind_their_prompt(tmp_path: Path) -> None:
    [pair] = read_pairs(write_rows(tmp_path / "pairs.jsonl", [{**PAIR, "prompt": "Be ", "chosen_first": True}]))
    assert (pair.chosen, pair.rejected, pair.chosen_first, pair.weight) == ("Be good", "Be bad", True, 1.0)


def test_gold_of_a_pair_is_no_part_of_the_digest(tmp_path: Path) -> None:
    read = [
        read_pairs(write_rows(tmp_path / "pairs.jsonl", [PAIR, {**PAIR, **gold}]))
        for gold in ({}, {"gold": "chosen"}, {"gold": "rejected"})
    ]
    assert [pairs[1].gold_agrees for pairs in read] == [None, True, False]
    assert len({digest_of(pairs) for pairs in read}) == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"rejected": "good"}, "chosen and rejected are the same text"),
        ({"rejected": ""}, "a text must not be empty"),
        ({"chosen_first": 1}, "chosen_first: must be true or false, not 1"),
        ({"gold": "good"}, 'gold: must be chosen or rejected, not "good"'),
    ],
)
def test_a_faulty_pair_is_named_by_its_line(fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^examples, line 2: ") as refused:
        read_pairs(write_rows(tmp_path / "pairs.jsonl", [PAIR, {**PAIR, **fields}]))
    assert told in str(refused.value)


@given(groups=st.lists(st.sampled_from("abcdefgh"), min_size=12, max_size=40), seed=st.integers(0, 9))
def test_groups_are_held_out_whole_and_within_the_share(groups: list[str], seed: int) -> None:
    try:
        parts = split(groups, 0.5, seed)
    except Refused:
        assert min(map(groups.count, set(groups))) > round(len(groups) / 2)
        return
    held, trained = ({groups[row] for row in rows} for rows in (parts.held_out, parts.trained))
    assert held.isdisjoint(trained)
    assert sorted([*parts.held_out, *parts.trained]) == list(range(len(groups)))
    assert 0 < len(parts.held_out) <= round(len(groups) / 2)
    assert parts == split(groups, 0.5, seed)


def test_another_seed_holds_out_others() -> None:
    groups = [str(row) for row in range(40)]
    assert len({split(groups, 0.25, seed).held_out for seed in range(5)}) == 5
    assert [len(split(groups, share, 0).held_out) for share in (0, 0.25, 0.9)] == [0, 10, 36]


def test_rows_of_which_nothing_can_be_held_out_are_refused() -> None:
    with pytest.raises(Refused, match="holdout: no group of rows fits"):
        split(["a", "a", "b", "b"], 0.25, 0)
