"""Counts tokens by the server's own tokenizer."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from service.scoring.http import JsonHttp

REMEMBERED_TEXTS = 20_000
CALLS_AT_ONCE = 16


class TokenCounter:
    """TGI's `/tokenize`, one text a call, with a memory of recent texts."""

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
