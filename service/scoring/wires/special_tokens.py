"""Encodes texts that look like special tokens, such as `<s>` in a row, as plain text.

Tokenizers of servers recognise their special tokens in any text. Only llama.cpp can be told not to. For the other
servers, the wires cut such a text within each special token, encode the parts and join their ids.
"""

import re
from collections.abc import Awaitable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from service.scoring.wires.wire import Prompt, Token

# The forms of special tokens in published tokenizers: <s>, <|im_end|>, <start_of_turn>, [INST], [/INST], [CLS].
_LOOKS_SPECIAL = re.compile(r"(?=(<[^<>\s]{1,60}>))|(?=(\[/?[A-Z_]{2,30}\]))")  # matches may overlap
_BEFORE = "\n"  # put in front of a part, so that no tokenizer treats the part as the beginning of a text


class Encode(Protocol):
    """The type of a wire's `encode`."""

    def __call__(self, text: str, *, special: bool = False) -> Awaitable[list[Token]]:
        """Encode a text, with the special tokens in front of a prompt if `special`."""


def lookalikes(text: str) -> list[str]:
    """All parts of a text that a tokenizer might recognise as a special token, without duplicates."""
    return list(dict.fromkeys(match[1] or match[2] for match in _LOOKS_SPECIAL.finditer(text)))


async def with_token_ids(prompt: Prompt, encode: Encode) -> Prompt:
    """The prompt, with token ids if a server might recognise special tokens in its text."""
    if prompt.token_ids is not None or not lookalikes(prompt.text):
        return prompt
    tokens = await encode(prompt.text, special=True)
    return Prompt(prompt.text, tuple(token.id for token in tokens))


async def encode_in_parts(text: str, atoms: Collection[str], encode: Encode, *, special: bool) -> list[Token]:
    """Encode a text in which the tokenizer would recognise these `atoms` as special tokens."""
    first, *others = _parts(text, atoms)
    tokens = list(await encode(first, special=special))
    before = await encode(_BEFORE) if others else []
    at = len(first)
    for part in others:
        tokens += _shift(await _encode_part(part, before, encode), at)
        at += len(part)
    return tokens


async def _encode_part(part: str, before: Sequence[Token], encode: Encode) -> list[Token]:
    """The tokens of a part in the middle of a text."""
    whole = await encode(_BEFORE + part)
    if [token.id for token in whole[: len(before)]] == [token.id for token in before]:
        return _shift(whole[len(before) :], -len(_BEFORE))
    return list(await encode(part))


def _shift(tokens: Sequence[Token], characters: int) -> list[Token]:
    return [token if token.end is None else replace(token, end=token.end + characters) for token in tokens]


def _parts(text: str, atoms: Collection[str]) -> Iterator[str]:
    """The parts of the text, cut behind the first character of each atom."""
    at = 0
    for match in re.finditer("|".join(map(re.escape, sorted(atoms, key=len, reverse=True))), text):
        yield text[at : match.start() + 1]
        at = match.start() + 1
    yield text[at:]
