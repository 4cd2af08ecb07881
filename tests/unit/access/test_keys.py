import base64
import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.access.keys import Key, is_key_id, key_of, new_key, read_key, redacted
from service.errors import NotAuthenticated

LETTERS = string.ascii_lowercase + "234567"
keys = st.builds(key_of, st.text(LETTERS, min_size=12, max_size=12), st.binary(min_size=32, max_size=32))


@given(keys)
def test_a_new_key_can_be_parsed(key: Key) -> None:
    assert read_key(key.text) == key
    assert is_key_id(key.id)
    assert key.text.startswith(f"icm_{key.id}_")


@given(keys, keys)
def test_a_key_matches_its_own_hash_and_no_other(key: Key, other: Key) -> None:
    assert key.matches(key.sha256)
    assert key.matches(other.sha256) == (key == other)


@given(keys, st.integers(min_value=0), st.sampled_from(LETTERS))
def test_one_letter_changed_anywhere_is_noticed(key: Key, place: int, letter: str) -> None:
    place %= len(key.text)
    assume(key.text[place] != letter)
    with pytest.raises(NotAuthenticated):
        read_key(key.text[:place] + letter + key.text[place + 1 :])


@given(keys, st.integers(min_value=0))
def test_a_key_cut_short_is_noticed(key: Key, length: int) -> None:
    with pytest.raises(NotAuthenticated):
        read_key(key.text[: length % len(key.text)])


@given(keys, st.text(min_size=1))
def test_text_after_the_key_is_noticed(key: Key, more: str) -> None:
    with pytest.raises(NotAuthenticated):
        read_key(key.text + more)


@given(st.text())
def test_other_text_is_no_key_and_is_not_repeated_by_the_refusal(text: str) -> None:
    with pytest.raises(NotAuthenticated) as refusal:
        read_key(text)
    assert str(refusal.value) == "the API key is mistyped or cut short"


@given(keys, st.text(), st.text())
def test_the_secret_is_removed_from_any_text(key: Key, before: str, after: str) -> None:
    secret = key.text.rpartition("_")[2]
    assume(secret not in before + after)
    assert secret not in redacted(before + key.text + after)
    assert f"icm_{key.id}_***" in redacted(before + key.text + after)


@given(keys, st.integers(min_value=1, max_value=58))
def test_a_part_of_the_secret_after_its_id_is_removed_too(key: Key, left: int) -> None:
    assert redacted(key.text[:-left]) == f"icm_{key.id}_***"


@pytest.mark.parametrize("text", ["", "icm_http_requests_total", f"job_{'0' * 32}", "icm keys create", "icm_"])
def test_text_without_a_key_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text


@given(keys)
def test_a_key_does_not_show_its_secret_when_it_is_printed(key: Key) -> None:
    shown = f"{key} {key!r} {[key]}"
    assert key.text.rpartition("_")[2] not in shown
    assert key.id in shown


def test_fresh_keys_differ_in_id_and_secret() -> None:
    made = [new_key() for _ in range(200)]
    assert len({key.id for key in made}) == 200
    assert len({key.text.rpartition("_")[2] for key in made}) == 200
    assert all(re.fullmatch(r"icm_[a-z2-7]{12}_[a-z2-7]{59}", key.text) for key in made)


@given(st.binary(min_size=24, max_size=64), st.text(max_size=5), st.sampled_from(["", " ", '"', "\n", "@"]))
def test_the_secret_of_a_webhook_is_removed_in_both_forms_of_base64(raw: bytes, before: str, after: str) -> None:
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        text = redacted(f"{before}whsec_{encoded.decode()}{after}")
        assert text == redacted(text)
        assert text.endswith(f"whsec_***{after}")
