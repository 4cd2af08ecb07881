from os.path import commonprefix

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.checks.beginnings import common_beginning, common_length, shared_by_neighbours

TEXTS = st.text(alphabet="ab😀", max_size=12)


@given(TEXTS, TEXTS, TEXTS)
def test_texts_have_in_common_what_a_comparison_by_characters_finds(beginning: str, one: str, other: str) -> None:
    texts = [beginning + one, beginning + other]
    assert common_length(*texts) == len(commonprefix(texts))  # noqa: RUF071  # of texts, not of paths


@given(st.lists(TEXTS))
def test_a_beginning_common_to_all_is_the_longest_one(texts: list[str]) -> None:
    assert common_beginning(texts) == commonprefix(texts)  # noqa: RUF071  # of texts, not of paths


@pytest.mark.parametrize(
    ("texts", "share"),
    [([], 0.0), (["abcd"], 0.0), (["ab", "ab"], 0.5), (["ab", "ac", "xx"], 1 / 6)],
    ids=["none", "one", "twins", "neighbours"],
)
def test_neighbours_share_what_the_text_before_begins_with_too(texts: list[str], share: float) -> None:
    assert shared_by_neighbours(texts) == pytest.approx(share)
