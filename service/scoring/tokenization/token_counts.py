"""Counts tokens by the embedded server's tokenizer, many texts per call, with a cache of recent texts."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from cachetools import LRUCache

from service.errors import BackendRefused
from service.scoring.calls.executor import CallExecutor
from service.scoring.calls.gather import together
from service.scoring.wires.http import JsonHttp

_REMEMBERED_TEXTS = 20_000
_BATCH_TEXTS = 1_000
_BATCH_CHARACTERS = 1_000_000  # well within the embedded server's longest body


class BatchTokenCounter:
    """Counts tokens by the embedded server's `/v1/count_tokens`."""

    def __init__(self, http: JsonHttp, executor: CallExecutor) -> None:
        self._http = http
        self._executor = executor
        self._counts = LRUCache[str, int](_REMEMBERED_TEXTS)

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, without special tokens. Raises BackendError."""
        counts = {"": 0}
        for text in dict.fromkeys(texts):
            if (known := self._counts.get(text)) is not None:
                counts[text] = known
        batches = _batches(text for text in dict.fromkeys(texts) if text not in counts)
        for counted in await together(map(self._count, batches)):
            counts |= counted
            self._counts.update(counted)
        return [counts[text] for text in texts]

    async def _count(self, batch: list[str]) -> dict[str, int]:
        post = partial(self._http.post, "/v1/count_tokens", {"texts": batch})
        answer: Any = await self._executor.call(post, measured=False)
        try:
            return {text: int(count) for text, count in zip(batch, answer["counts"], strict=True)}
        except (KeyError, TypeError, ValueError) as error:
            raise BackendRefused(f"/v1/count_tokens gave an answer of another form: {error!r}") from error


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Divide the texts into batches with a bounded number of texts and characters; a longer text goes alone."""
    batch, characters = list[str](), 0
    for text in texts:
        if batch and (len(batch) >= _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
