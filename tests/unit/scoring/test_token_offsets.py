"""The offsets at which tokens end in their text."""

import pytest

from service.scoring.wires.token_offsets import byte_level, sentence_piece, with_offsets
from service.scoring.wires.wire import Token


@pytest.mark.parametrize(
    ("text", "pieces", "ends"),
    [
        ("Paris is", ["Paris", "Ġis"], [5, 8]),
        ("a\nb", ["a", "Ċ", "b"], [1, 2, 3]),
        ("aé漢", ["a", "Ã", "©æ", "¼¢"], [1, 1, 2, 3]),
        ("Paris", ["<s>", "Paris", "</s>"], [0, 5, 5]),
        ("", [], []),
    ],
    ids=["words", "line break", "characters in parts", "special tokens", "nothing"],
)
def test_tokens_of_byte_level_vocabularies_end_where_their_bytes_do(
    text: str, pieces: list[str], ends: list[int]
) -> None:
    ids = list(range(len(pieces)))
    assert with_offsets(text, ids, [list(map(byte_level, pieces))]) == list(map(Token, ids, ends))


@pytest.mark.parametrize(
    ("text", "pieces", "ends"),
    [
        ("Paris is", ["<s>", "▁Paris", "▁is"], [0, 5, 8]),
        (" is", ["▁", "▁is"], [0, 3]),
        ("a\nb", ["▁a", "<0x0A>", "b"], [1, 2, 3]),
        ("é", ["▁", "<0xC3>", "<0xA9>"], [0, 0, 1]),
    ],
    ids=["words", "two spaces for one", "line break", "character in parts"],
)
def test_tokens_of_sentencepiece_end_where_their_text_does(text: str, pieces: list[str], ends: list[int]) -> None:
    ids = list(range(len(pieces)))
    assert with_offsets(text, ids, [list(map(sentence_piece, pieces))]) == list(map(Token, ids, ends))


def test_unknown_offsets_are_left_out() -> None:
    pieces = [[b"the ", b"city"], [b"The", b" city"]]
    assert with_offsets("The City", [1, 2], pieces) == [Token(1), Token(2)]
    assert with_offsets("The city", [1, 2, 3], pieces) == [Token(1), Token(2), Token(3)]
    assert with_offsets("The city", [1, 2], pieces) == [Token(1, 3), Token(2, 8)]
