"""Computes where tokens end in their text, for servers that return each token's text."""

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate

from service.scoring.wires.wire import Token

SHORT_CHARACTERS = 400  # the offsets of tokens matter only in short texts, such as labels


def _byte_of_character() -> dict[str, int]:
    """The alphabet of byte-level vocabularies: printable bytes map to themselves, others to characters from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_LEVEL = _byte_of_character()
_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")


def byte_level(piece: str) -> bytes:
    """The bytes of a vocabulary entry in GPT-2's notation: `ĠTrue` is " True"."""
    if all(character in _BYTE_LEVEL for character in piece):
        return bytes(_BYTE_LEVEL[character] for character in piece)
    return piece.encode()


def sentence_piece(piece: str) -> bytes:
    """The bytes of a vocabulary entry in SentencePiece's notation: `▁True` is " True", `<0x0A>` a line break."""
    byte = _BYTE.fullmatch(piece)
    return bytes.fromhex(byte[1]) if byte else piece.replace("▁", " ").encode()


def whole_characters(text: str) -> list[int]:
    """For each number of UTF-8 bytes from 0 to the whole text: how many complete characters these bytes hold."""
    data = text.encode()
    begun = [0, *accumulate(byte & 0xC0 != 0x80 for byte in data), len(text) + 1]
    return [begun[end + 1] - 1 for end in range(len(data) + 1)]


def with_offsets(text: str, ids: Sequence[int], spellings: Iterable[Sequence[bytes]]) -> list[Token]:
    """The tokens with offsets from the first spelling whose bytes equal the text; without offsets if none does."""
    for pieces in spellings:
        for added in ("", " "):  # SentencePiece puts a space in front of a text
            ends = _ends(added + text, pieces)
            if ends is not None and len(ends) == len(ids):
                return [Token(token, max(0, end - len(added))) for token, end in zip(ids, ends, strict=True)]
    return [Token(token) for token in ids]


def _ends(text: str, pieces: Sequence[bytes]) -> list[int] | None:
    """The number of complete characters up to each piece's end; None if the pieces do not spell the text.

    Pieces before the beginning or behind the end of the text that are not part of it are special tokens.
    """
    data, at, ends = text.encode(), 0, list[int]()
    for piece in pieces:
        if data.startswith(piece, at):
            at += len(piece)
        elif at not in (0, len(data)):
            return None
        ends.append(at)
    whole = whole_characters(text)
    return [whole[end] for end in ends] if at == len(data) else None
