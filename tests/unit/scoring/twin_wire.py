"""An in-memory wire: words are tokens, the prefix cache is real, and a test can switch on every defect."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from service.errors import BackendError, LabelUnreachable
from service.records.scoring import ServerFacts
from service.scoring.wires import vllm
from service.scoring.wires.kind import Kind
from service.scoring.wires.wire import NextToken, Prompt, Token

BEGINNING = 1  # the special token before a prompt
_WORD = re.compile(r" ?[^\s]+|\s")
FACTS = ServerFacts(
    model="twin", revision="abc", server_version="1", context_tokens=4096, max_concurrent_requests=64, max_top_tokens=20
)


def token_id(word: str) -> int:
    """The same id on every machine."""
    return 2 + crc32(word.encode()) % 1_000_000


@dataclass
class TwinWire:
    """A healthy server, except for the defects that a test sets."""

    kind: Kind = vllm.KIND
    takes_token_ids: bool = True
    server_facts: ServerFacts = FACTS
    block: int = 16  # of the prefix cache; 0 means none
    counts: bool = True  # reports tokens sent and computed
    merges: str | None = None  # a text that is always one token
    space_before_texts: bool = False  # as SentencePiece adds
    unreachable: frozenset[str] = frozenset()  # words without a log-probability
    unreachable_value: float | None = None  # given for them; None is an error instead
    silent: bool = False  # names no tokens
    relative: bool = False
    shift_in_company: float = 0.0  # nats, during concurrent calls
    shift_warm: float = 0.0  # nats, if tokens are found in the cache
    fail: Callable[[str], BackendError | None] = lambda _: None  # by the name of the method
    asked: list[tuple[Prompt, tuple[int, ...]]] = field(default_factory=list)
    encoded: int = 0
    closed: bool = False
    _seen: list[tuple[int, ...]] = field(default_factory=list)
    _under_way: int = 0

    async def facts(self) -> ServerFacts:
        self._fail("facts")
        return self.server_facts

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        self._fail("encode")
        self.encoded += 1
        tokens = [Token(token_id(word), end) for word, end in self._words(text)]
        return [Token(BEGINNING, 0), *tokens] if special else tokens

    def _words(self, text: str) -> list[tuple[str, int]]:
        pattern = _WORD if self.merges is None else re.compile(f"{re.escape(self.merges)}|{_WORD.pattern}")
        first = "\u2581" if self.space_before_texts else ""
        found = [(match[0], match.end()) for match in pattern.finditer(text)]
        return [((first if place == 0 else "") + word, end) for place, (word, end) in enumerate(found)]

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        self._fail("next_token")
        self.asked.append((prompt, tuple(wanted)))
        self._under_way += 1
        try:
            await asyncio.sleep(0)  # so that other calls may arrive during this one
            return await self._answer(prompt, wanted)
        finally:
            self._under_way -= 1

    async def _answer(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        ids = prompt.token_ids or tuple(token.id for token in await self.encode(prompt.text, special=True))
        assert self.takes_token_ids or prompt.token_ids is None
        hidden = {token_id(word) for word in self.unreachable}
        if self.unreachable_value is None and any(token in hidden for token in wanted):
            raise LabelUnreachable("it is not there")
        found = self._found(ids)
        self._seen.append(ids)
        shift = (self.shift_warm if found else 0.0) + (self.shift_in_company if self._under_way > 1 else 0.0)
        likeliest = 2 + sum(ids) % 1_000
        by_id = {token: -1.0 - (sum(ids) + token) % 7 + shift for token in wanted} | {likeliest: -0.5 + shift}
        by_id |= {token: self.unreachable_value for token in wanted if self.unreachable_value and token in hidden}
        by_id = {} if self.silent else by_id
        sent = len(ids)
        computed = sent - found
        return NextToken(by_id, sent if self.counts else None, computed if self.counts else None, self.relative)

    def _found(self, ids: tuple[int, ...]) -> int:
        """The number of cached tokens: whole blocks of the longest known beginning, never the last token."""
        if not self.block:
            return 0
        longest = max((_common(ids[:-1], seen) for seen in self._seen), default=0)
        return longest // self.block * self.block

    def _fail(self, method: str) -> None:
        if (error := self.fail(method)) is not None:
            raise error

    async def close(self) -> None:
        self.closed = True


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))
