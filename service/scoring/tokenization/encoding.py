"""Encodes texts to token ids by the server's own tokenizer, with a cache of recent texts."""

from array import array
from collections.abc import Sequence
from contextlib import suppress

from cachetools import LRUCache

from service.scoring.calls.executor import CallExecutor
from service.scoring.calls.gather import together
from service.scoring.wires.wire import Token, Wire

_REMEMBERED_TOKENS = 4_000_000
_ENTRY_TOKENS = 32  # overhead of a cache entry, in tokens
_PARTS = ("I think this claim is True\n\n", "Question: 12 + 5\n", "Claim: 17\n\n", "The city of Rome")


class Encoder:
    """Encodes texts through a wire, with a least-recently-used cache that is bounded in tokens."""

    def __init__(self, wire: Wire, executor: CallExecutor, *, remembered_tokens: int = _REMEMBERED_TOKENS) -> None:
        self._wire = wire
        self._executor = executor
        self._known = LRUCache[str, "array[int]"](remembered_tokens, lambda ids: len(ids) + _ENTRY_TOKENS)
        self._beginning: array[int] | None = None
        self._joins: bool | None = None

    async def tokens(self, text: str, *, special: bool = False) -> list[Token]:
        """The tokens of a text with their offsets, without the cache. Raises BackendError."""
        return await self._executor.call(lambda: self._wire.encode(text, special=special), measured=False)

    async def ids(self, texts: Sequence[str]) -> list["array[int]"]:
        """The token ids of each text by itself, without special tokens. Raises BackendError."""
        found: dict[str, array[int]] = {"": array("I")}
        for text in dict.fromkeys(texts):
            if (known := self._known.get(text)) is not None:
                found[text] = known
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        for text, tokens in zip(missing, await together(map(self.tokens, missing)), strict=True):
            found[text] = array("I", [token.id for token in tokens])
            with suppress(ValueError):  # the text is larger than the whole cache
                self._known[text] = found[text]
        return [found[text] for text in texts]

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without special tokens. Raises BackendError."""
        return list(map(len, await self.ids(texts)))

    async def beginning(self) -> "array[int]":
        """The special tokens that the server puts in front of a prompt sent as text. Raises BackendError."""
        if self._beginning is None:
            bare = [token.id for token in await self.tokens(_PARTS[0])]
            whole = [token.id for token in await self.tokens(_PARTS[0], special=True)]
            places = range(len(whole) - len(bare) + 1)
            start = next((place for place in places if whole[place : place + len(bare)] == bare), 0)
            self._beginning = array("I", whole[:start])
        return self._beginning

    async def joins(self) -> bool:
        """Whether texts can be encoded part by part; some tokenizers put a space in front of each part.

        This quick check on fixed texts saves each tree the attempt. Raises BackendError.
        """
        if self._joins is None:
            *parts, whole = await self.ids([*_PARTS, "".join(_PARTS)])
            self._joins = sum(parts, array("I")) == whole
        return self._joins
