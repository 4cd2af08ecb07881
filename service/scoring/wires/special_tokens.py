"""Special tokens in rows are text: `<s>` or `<|im_end|>` in a row must neither begin nor end anything.

Tokenizers of servers look for their special tokens in whatever text they are given. llama.cpp can be asked not to. The
others are given such a text in two parts, cut within the special token, and the ids are put together.
"""

import re
from collections.abc import Awaitable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from service.scoring.wires.wire import Prompt, Token

# What special tokens look like in published tokenizers: <s>, <|im_end|>, <start_of_turn>, [INST], [/INST], [CLS].
_LOOKS_SPECIAL = re.compile(r"(?=(<[^<>\s]{1,60}>))|(?=(\[/?[A-Z_]{2,30}\]))")  # one may stand within another
_BEFORE = "\n"  # stands before a part, so that no tokenizer takes it for the beginning of a text


class Encode(Protocol):
    """A wire's `encode`."""

    def __call__(self, text: str, *, special: bool = False) -> Awaitable[list[Token]]:
        """The tokens of a text."""


def lookalikes(text: str) -> list[str]:
    """Whatever in a text a tokenizer might take for a special token, each once."""
    return list(dict.fromkeys(match[1] or match[2] for match in _LOOKS_SPECIAL.finditer(text)))


async def in_ids(prompt: Prompt, encode: Encode) -> Prompt:
    """The prompt as token ids where its text might be misread by a server that takes both."""
    if prompt.token_ids is not None or not lookalikes(prompt.text):
        return prompt
    tokens = await encode(prompt.text, special=True)
    return Prompt(prompt.text, tuple(token.id for token in tokens))


async def encode_cut(text: str, atoms: Collection[str], encode: Encode, *, special: bool) -> list[Token]:
    """The tokens of a text in which the tokenizer would take these `atoms` for one token each."""
    first, *others = _parts(text, atoms)
    tokens = list(await encode(first, special=special))
    before = await encode(_BEFORE) if others else []
    at = len(first)
    for part in others:
        tokens += _moved(await _going_on(part, before, encode), at)
        at += len(part)
    return tokens


async def _going_on(part: str, before: Sequence[Token], encode: Encode) -> list[Token]:
    """The tokens of a text that stands within another."""
    whole = await encode(_BEFORE + part)
    if [token.id for token in whole[: len(before)]] == [token.id for token in before]:
        return _moved(whole[len(before) :], -len(_BEFORE))
    return list(await encode(part))


def _moved(tokens: Sequence[Token], characters: int) -> list[Token]:
    return [token if token.end is None else replace(token, end=token.end + characters) for token in tokens]


def _parts(text: str, atoms: Collection[str]) -> Iterator[str]:
    """The text, cut behind the first character of each atom."""
    at = 0
    for match in re.finditer("|".join(map(re.escape, sorted(atoms, key=len, reverse=True))), text):
        yield text[at : match.start() + 1]
        at = match.start() + 1
    yield text[at:]
