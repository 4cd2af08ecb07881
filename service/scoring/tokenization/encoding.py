"""Token ids of texts by the server's own tokenizer, each text asked for once while it is remembered."""

from array import array
from collections.abc import Sequence
from contextlib import suppress

from cachetools import LRUCache

from service.scoring.calls.executor import CallExecutor
from service.scoring.calls.gather import together
from service.scoring.wires.wire import Token, Wire

_REMEMBERED_TOKENS = 4_000_000
_ENTRY_TOKENS = 32  # what remembering a text costs besides its tokens
_PARTS = ("I think this claim is True\n\n", "Question: 12 + 5\n", "Claim: 17\n\n", "The city of Rome")


class Encoder:
    """Encodes through a wire; holds the most recent texts up to a bounded number of tokens."""

    def __init__(self, wire: Wire, executor: CallExecutor, *, remembered_tokens: int = _REMEMBERED_TOKENS) -> None:
        self._wire = wire
        self._executor = executor
        self._known = LRUCache[str, "array[int]"](remembered_tokens, lambda ids: len(ids) + _ENTRY_TOKENS)
        self._beginning: array[int] | None = None
        self._joins: bool | None = None

    async def tokens(self, text: str, *, special: bool = False) -> list[Token]:
        """The tokens of a text with their places; nothing is remembered. Raises BackendError."""
        return await self._executor.call(lambda: self._wire.encode(text, special=special), measured=False)

    async def ids(self, texts: Sequence[str]) -> list["array[int]"]:
        """The token ids of each text by itself, special tokens not among them. Raises BackendError."""
        found: dict[str, array[int]] = {"": array("I")}
        for text in dict.fromkeys(texts):
            if (known := self._known.get(text)) is not None:
                found[text] = known
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        for text, tokens in zip(missing, await together(map(self.tokens, missing)), strict=True):
            found[text] = array("I", [token.id for token in tokens])
            with suppress(ValueError):  # longer than all that may be remembered
                self._known[text] = found[text]
        return [found[text] for text in texts]

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, special tokens not counted. Raises BackendError."""
        return list(map(len, await self.ids(texts)))

    async def beginning(self) -> "array[int]":
        """The special tokens that the server puts before a prompt given as text. Raises BackendError."""
        if self._beginning is None:
            bare = [token.id for token in await self.tokens(_PARTS[0])]
            whole = [token.id for token in await self.tokens(_PARTS[0], special=True)]
            places = range(len(whole) - len(bare) + 1)
            start = next((place for place in places if whole[place : place + len(bare)] == bare), 0)
            self._beginning = array("I", whole[:start])
        return self._beginning

    async def joins(self) -> bool:
        """Whether texts may be encoded part by part: not where the tokenizer puts a space before each.

        Only a first look that spares every tree the attempt. Raises BackendError.
        """
        if self._joins is None:
            *parts, whole = await self.ids([*_PARTS, "".join(_PARTS)])
            self._joins = sum(parts, array("I")) == whole
        return self._joins
