"""Counts tokens by the server's own tokenizer, with a memory of recent texts."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from service.errors import BackendRefused
from service.scoring.http import JsonHttp

REMEMBERED_TEXTS = 20_000
CALLS_AT_ONCE = 16
_BATCH_TEXTS = 1_000
_BATCH_CHARACTERS = 1_000_000  # well within the embedded server's longest body


class TokenCounter:
    """TGI's `/tokenize`, one text a call."""

    def __init__(self, http: JsonHttp) -> None:
        self._http = http
        self._free_slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not counted. Raises BackendError."""
        return list(await asyncio.gather(*map(self._count, texts)))

    async def _count(self, text: str) -> int:
        if not text:
            return 0
        if text not in self._counts:
            async with self._free_slots:
                tokens = await self._http.post("/tokenize", {"inputs": text})
            self._counts[text] = sum(token["stop"] > token["start"] for token in tokens)
            if len(self._counts) > REMEMBERED_TEXTS:
                self._counts.popitem(last=False)
        return self._counts[text]


class BatchTokenCounter:
    """The embedded server's `/v1/count_tokens`, many texts a call."""

    def __init__(self, http: JsonHttp) -> None:
        self._http = http
        self._free_slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not counted. Raises BackendError."""
        known = {text: self._counts[text] for text in texts if text in self._counts}
        batches = _batches(text for text in dict.fromkeys(texts) if text and text not in known)
        for counted in await asyncio.gather(*map(self._count, batches)):
            known |= counted
        self._counts.update(known)
        while len(self._counts) > REMEMBERED_TEXTS:
            self._counts.popitem(last=False)
        return [known[text] if text else 0 for text in texts]

    async def _count(self, batch: list[str]) -> dict[str, int]:
        async with self._free_slots:
            answer = await self._http.post("/v1/count_tokens", {"texts": batch})
        counts = answer["counts"]
        if len(counts) != len(batch):
            raise BackendRefused(f"/v1/count_tokens gave {len(counts)} counts for {len(batch)} texts")
        return dict(zip(batch, counts, strict=True))


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in runs of a bounded number of texts and characters; a longer text goes alone."""
    batch, characters = list[str](), 0
    for text in texts:
        if batch and (len(batch) >= _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
