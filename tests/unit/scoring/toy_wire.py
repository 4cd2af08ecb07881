"""An in-memory wire: tokens are words, scores are a function of the tokens before, and the prefix cache is ideal.

It keeps a prompt only once its request has ended, as text-generation-inference does.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from service.records.scoring import ServerFacts
from service.scoring.wires.kind import Kind
from service.scoring.wires.wire import NextToken, Prompt, Token

BEGINNING = 1
_WORD = re.compile(r" ?\w+|\s|[^\w\s]")


def token_id(text: str) -> int:
    """The same id on every machine."""
    return 2 + crc32(text.encode()) % 1_000_000


def log_probability(ids: Sequence[int], token: int) -> float:
    """A log-probability in nats, which depends on every token before."""
    return -1.0 - crc32(repr((*ids, token)).encode()) % 7_000 / 1_000


TOY = Kind(name="toy", title="toy")


@dataclass
class ToyWire:
    """`splits` names words of several tokens, `merges` texts that are always one token.

    `unreachable` are tokens' texts without a score. Prompts in which `held` says so are never answered.
    """

    kind: Kind = TOY
    takes_token_ids: bool = True
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    merges: Sequence[str] = ()
    first: str = ""  # what a SentencePiece tokenizer puts before every text
    counts: bool = True
    ends: bool = True
    relative: bool = False
    requests: int = 1
    unreachable: frozenset[str] = frozenset()
    server_facts: ServerFacts = field(
        default_factory=lambda: ServerFacts(model="toy", revision="1", server_version="2")
    )
    shift: float = 0.0  # nats; other values stand for other weights
    held: Callable[[Prompt], bool] = lambda prompt: False
    failure: Exception | None = None  # raised instead of an answer
    prompts: list[Prompt] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)
    computed: int = 0
    under_way: int = 0
    most_under_way: int = 0
    cancelled: int = 0
    _cache: dict[int, "_Node"] = field(default_factory=dict)

    async def facts(self) -> ServerFacts:
        return self.server_facts

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        self.encoded.append(text)
        found = self._tokens(text)
        return [Token(BEGINNING, 0), *found] if special else found

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        self.prompts.append(prompt)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answer(prompt, wanted)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1

    async def close(self) -> None: ...

    async def _answer(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        assert prompt.token_ids is None or self.takes_token_ids
        ids = prompt.token_ids or (BEGINNING, *(token.id for token in self._tokens(prompt.text)))
        computed = self._cold(ids)
        for _ in range(5):  # so that other calls arrive during this one
            await asyncio.sleep(0)
        if self.held(prompt):
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        self._keep(ids)
        self.computed += computed
        hidden = set(map(token_id, self.unreachable))
        by_id = {token: log_probability(ids, token) + self.shift for token in wanted if token not in hidden}
        by_id[BEGINNING] = -0.9 + self.shift
        sent = len(ids) if self.counts else None
        return NextToken(by_id, sent, computed if self.counts else None, self.relative, self.requests)

    def _tokens(self, text: str) -> list[Token]:
        pattern = re.compile("|".join([*map(re.escape, self.merges), _WORD.pattern]))
        tokens = list[Token]()
        for match in pattern.finditer(text):
            end = match.start()
            for piece in self.splits.get(match[0], [match[0]]):
                end += len(piece)
                tokens.append(Token(token_id(self.first + piece if not tokens else piece), end if self.ends else None))
        return tokens

    def _cold(self, ids: Iterable[int]) -> int:
        found, place, length = 0, self._cache, 0
        for token in ids:
            length += 1
            if found == length - 1 and token in place:
                found, place = length, place[token].children
        return length - found

    def _keep(self, ids: Iterable[int]) -> None:
        place = self._cache
        for token in ids:
            place = place.setdefault(token, _Node()).children


@dataclass
class _Node:
    children: dict[int, "_Node"] = field(default_factory=dict)


@dataclass
class ToyManyWire(ToyWire):
    """A wire that takes many queries after one beginning."""

    calls: list[tuple[tuple[int, ...], list[tuple[int, ...]]]] = field(default_factory=list)

    async def next_tokens(
        self, beginning: tuple[int, ...], items: Sequence[tuple[int, ...]], wanted: Sequence[int]
    ) -> list[NextToken]:
        self.calls.append((beginning, list(items)))
        return [await self._answer(Prompt("", (*beginning, *item)), wanted) for item in items]
