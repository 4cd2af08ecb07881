"""Measures a server's prefix cache by sending each of a few new prompts twice."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from service.errors import BackendUnavailable
from service.scoring.calls.executor import CallExecutor
from service.scoring.probing.label_trial import largest_difference, likeliest
from service.scoring.wires.wire import Prompt, Wire

# If the cache has blocks of b tokens, the second sending of a prompt of n tokens finds floor((n - 1) / b) * b of
# them. For these lengths the greatest common divisor of the results is b, for b of 1, 8, 16, 32, 64, 128 and 256.
LENGTHS_TOKENS = (70, 150, 300, 600)
_LEAST_TOKENS_OF_A_CLAIM = 5  # a claim of `fresh_text` has ten words, of which some tokenizers merge a few
_SPARE_TOKENS = 2  # of the context: for the generated token, and for a special token that begins a prompt


@dataclass(frozen=True, slots=True)
class Sample:
    """The measurement of one prompt sent twice; None for a number that the server does not report."""

    tokens_found: int | None  # in the cache, the second time
    found_all: bool  # that it could
    difference_nats: float | None  # between the log-probabilities of the two


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFindings:
    """The properties of a prefix cache that follow from the samples; None for one that they leave open."""

    prefix_cache: bool | None = None
    block_tokens: int | None = None
    difference_nats: float | None = None


@dataclass
class CacheTrial:
    """The trial of one server's cache; it takes each sample once, so that a trial cut short can be resumed."""

    _samples: dict[int, Sample] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def resume(
        self, wire: Wire, executor: CallExecutor, *, context_tokens: int | None, seconds: float
    ) -> CacheFindings:
        """Take the missing samples that fit the context, within the time limit. Raises BackendRefused.

        Costs at most the sum of the lengths in computed tokens, twice that without a cache.
        """
        try:
            async with asyncio.timeout(seconds), self._turn:
                for length in LENGTHS_TOKENS:
                    if length not in self._samples and length + _SPARE_TOKENS <= (context_tokens or math.inf):
                        self._samples[length] = await _sent_twice(wire, executor, length)
        except (TimeoutError, BackendUnavailable):  # the server is busy: the next trial takes the rest
            pass
        return infer_cache(list(self._samples.values()))


def infer_cache(samples: Sequence[Sample]) -> CacheFindings:
    """Infer whether there is a cache, the size of its blocks, and the largest difference."""
    differences = [sample.difference_nats for sample in samples if sample.difference_nats is not None]
    found = [sample.tokens_found for sample in samples if sample.tokens_found is not None]
    hits = [tokens for tokens in found if tokens > 0]
    return CacheFindings(
        prefix_cache=bool(hits) if found else None,
        block_tokens=_block(hits, [sample.found_all for sample in samples]),
        difference_nats=max(differences, default=None),
    )


def _block(hits: Sequence[int], found_all: Sequence[bool]) -> int | None:
    if all(found_all):
        return 1 if hits else None
    return math.gcd(*hits) if len(hits) > 1 else None


async def _sent_twice(wire: Wire, executor: CallExecutor, length: int) -> Sample:
    prompt = await _fresh_prompt(wire, executor, length)
    cold = await executor.call(lambda: wire.next_token(prompt, ()), measured=False)
    wanted = (likeliest(cold),)
    warm = await executor.call(lambda: wire.next_token(prompt, wanted), measured=False)
    difference = None if warm.relative else largest_difference([cold, warm], wanted)
    if warm.tokens_sent is None or warm.tokens_computed is None or warm.requests > 1:
        # A sum over requests says nothing about one prompt.
        return Sample(None, found_all=False, difference_nats=difference)
    found = warm.tokens_sent - warm.tokens_computed
    return Sample(found, found_all=warm.tokens_computed == 1, difference_nats=difference)


async def _fresh_prompt(wire: Wire, executor: CallExecutor, length: int) -> Prompt:
    """A prompt of `length` tokens (as text one more or less) that begins with a text never sent before."""
    text = fresh_text(1 + length // _LEAST_TOKENS_OF_A_CLAIM)
    tokens = (await executor.call(lambda: wire.encode(text, special=True), measured=False))[:length]
    ids = tuple(token.id for token in tokens) if wire.takes_token_ids else None
    return Prompt(text[: tokens[-1].end], ids)  # servers that take ids need not say where tokens end


def fresh_text(claims: int) -> str:
    """A text that begins with a random word, never sent before, followed by this many claims."""
    return f"Notes {uuid4().hex}\n\n" + "".join(_claims(claims))


def _claims(count: int) -> Iterator[str]:
    for number in range(count):
        yield f"{number} is larger than {(7 * number) % 50}. I think this claim is {number > (7 * number) % 50}\n\n"
