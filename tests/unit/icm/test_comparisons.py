"""A part of the pairs is chosen evenly, twins together, and both parts' results come back in the old order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm.data.comparisons import comparison_columns, digest, divided, merged
from icm.errors import UnsendableData

COLUMNS = ("a", "b", ("q",))


def rows(*compared: tuple[object, object], q: object = "?") -> list[dict[str, Any]]:
    return [{"a": first, "b": second, "q": q} for first, second in compared]


PAIRS = rows(*((place, place + 1) for place in range(0, 40, 2)), *((place + 1, place) for place in range(0, 40, 2)))


@given(share=st.floats(0.01, 0.9))
def test_twins_stand_on_one_side_and_every_row_on_one(share: float) -> None:
    parts = divided(PAIRS, COLUMNS, share)
    assert sorted([*parts.first, *parts.rest]) == list(range(40))
    assert len(parts.first) == 2 * parts.pairs == 2 * max(1, round(share * 20))
    assert {position % 20 for position in parts.first}.isdisjoint({position % 20 for position in parts.rest})


def test_a_part_is_spread_over_the_data() -> None:
    chosen = [position for position in divided(PAIRS, COLUMNS, 0.2).first if position < 20]
    assert len(chosen) == 4
    assert {position // 10 for position in chosen} == {0, 1}


def test_the_same_texts_in_another_group_are_another_pair() -> None:
    parts = divided([*rows((1, 2)), *rows((2, 1), q="!"), *rows((1, 2), q="?")], COLUMNS, 0.5)
    assert sorted(map(len, (parts.first, parts.rest))) == [1, 2]


def test_a_share_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UnsendableData, match=r"0\.9 of 1 pair leaves none"):
        divided(rows((1, 2), (2, 1)), COLUMNS, 0.9)


@given(share=st.floats(0.01, 0.9))
def test_results_come_back_in_the_order_of_the_rows(share: float) -> None:
    parts = divided(PAIRS, COLUMNS, share)
    lines = [[b"%d\n" % position for position in side] for side in (parts.first, parts.rest)]
    assert list(merged(parts, *lines)) == [b"%d\n" % position for position in range(40)]


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        ({"preset": "comparison", "task": {}}, ("response_a", "response_b", ("query",))),
        (
            {"task": {"relations": [{"kind": "pairs"}, {"kind": "antisymmetric", "first": "x", "second": "y"}]}},
            ("x", "y", ()),
        ),
        (
            {
                "preset": "comparison",
                "task": {"relations": [{"kind": "antisymmetric", "first": "x", "second": "y", "group": ["p", "q"]}]},
            },
            ("x", "y", ("p", "q")),
        ),
    ],
)
def test_the_relation_names_the_columns(config: dict[str, Any], columns: object) -> None:
    assert comparison_columns(config) == columns


@pytest.mark.parametrize(
    "config", [{}, {"task": 3}, {"preset": "gsm8k"}, {"preset": "no", "task": {}}, {"task": {"relations": [4]}}]
)
def test_what_compares_nothing_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UnsendableData, match="no relation antisymmetric"):
        comparison_columns(config)


def test_what_is_asked_for_has_a_name_that_changes_with_it() -> None:
    assert digest([1], {"a": 1, "b": 2}) == digest([1], {"b": 2, "a": 1}) != digest([2], {"a": 1, "b": 2})
    assert len(digest()) == 40
