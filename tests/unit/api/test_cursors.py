"""Cursors are valid only for the list that issued them, and nothing else is accepted."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.cursors import CursorSigner
from service.errors import InvalidCursor

SIGNER = CursorSigner("secret")
SCOPES = st.sampled_from(["jobs", "labels job_1", "labels job_2", "webhooks"])
VALUES = st.lists(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    max_size=3,
).map(tuple)  # fmt: skip
BASE64 = st.text("ABab01-_+/=", max_size=80)


@given(SCOPES, VALUES)
def test_a_signed_cursor_is_read_back(scope: str, values: tuple[Any, ...]) -> None:
    assert SIGNER.read(scope, SIGNER.sign(scope, values)) == values


@given(st.text(st.characters()) | BASE64)
@example("")
@example("\ud800")
@example("A" * 22)  # as long as a signature, with nothing behind it
@example("A" * 21)
@example("04-ZA9s8QQlJ1pAJsxYm51sxXQ")  # as releases before itsdangerous signed, for the same secret and list
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        SIGNER.read("jobs", text)


@given(VALUES, st.data())
def test_a_cursor_that_was_changed_is_refused_or_says_the_same(values: tuple[Any, ...], data: st.DataObject) -> None:
    cursor = SIGNER.sign("jobs", values)
    start = data.draw(st.integers(0, len(cursor)))
    end = data.draw(st.integers(start, len(cursor)))
    changed = cursor[:start] + data.draw(BASE64) + cursor[end:]
    try:
        assert SIGNER.read("jobs", changed) == values
    except InvalidCursor:
        assert changed != cursor


@given(SCOPES, SCOPES, VALUES)
def test_a_cursor_of_another_list_or_installation_is_refused(scope: str, other: str, values: tuple[Any, ...]) -> None:
    cursor = SIGNER.sign(scope, values)
    with pytest.raises(InvalidCursor):
        CursorSigner("another").read(scope, cursor)
    if other != scope:
        with pytest.raises(InvalidCursor):
            SIGNER.read(other, cursor)
