"""Texts with special tokens are cut within these, and the ids are joined."""

import re

import pytest

from service.scoring.wires.special_tokens import encode_in_parts, lookalikes, with_token_ids
from service.scoring.wires.wire import Prompt, Token

ATOMS = ("<s>", "</s>", "<|im_end|>", "[INST]")


async def encode(text: str, *, special: bool = False) -> list[Token]:
    """Characters as tokens, but an atom is one token; 1 begins a prompt."""
    pieces = re.findall("|".join(map(re.escape, ATOMS)) + "|.", text, re.DOTALL)
    ends = [sum(map(len, pieces[: end + 1])) for end in range(len(pieces))]
    ids = [-1 - ATOMS.index(piece) if piece in ATOMS else ord(piece) for piece in pieces]
    return [Token(1, 0)] * special + [Token(number, end) for number, end in zip(ids, ends, strict=True)]


@pytest.mark.parametrize("text", ["<s>", "a <s> b</s>", "<|im_end|>\n<|im_end|>", "<<s>[INST]>", "[INST]", "plain <b>"])
@pytest.mark.parametrize("special", [False, True])
async def test_no_atom_is_left_and_every_token_keeps_its_place(text: str, special: bool) -> None:
    atoms = [suspect for suspect in lookalikes(text) if suspect in ATOMS]
    expected = [Token(1, 0)] * special + [Token(ord(letter), end + 1) for end, letter in enumerate(text)]
    assert await encode_in_parts(text, atoms, encode, special=special) == expected


@pytest.mark.parametrize(
    "token",
    [
        *ATOMS,
        "<bos>",
        "<start_of_turn>",
        "<|begin_of_text|>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "[CLS]",
        "[/INST]",
    ],
)
def test_published_special_tokens_are_suspected_also_within_others(token: str) -> None:
    assert token in lookalikes(f"before{token}behind")
    assert token in lookalikes(f"<{token}>")
    assert token in lookalikes(f"[{token}]")


async def test_only_a_prompt_given_as_text_that_might_be_misread_goes_as_ids() -> None:
    for harmless in (Prompt("is 1 < 2 > 0"), Prompt("a <s>", (5,))):
        assert await with_token_ids(harmless, encode) is harmless
    assert (await with_token_ids(Prompt("<b>"), encode)).token_ids == (1, *map(ord, "<b>"))
