"""Score batches of prompts: with prefix cache and packed passes if the language model allows, else one by one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch

from inference.batching.packed import NamedTokens, NextToken, PackedScorer, only_named
from inference.cache.prefix_cache import Tokens
from inference.model.language_model import LanguageModel, token_arrays
from inference.model.low_rank import Adapter

logger = logging.getLogger(__name__)

CACHE_BYTES = 512 << 20  # default memory for keys and values
_TOLERANCE_NATS = 1e-4
# In half precision the order of additions alone changes some score by up to 0.58 nats (four language models tried);
# a different token in the prompt changed scores by 0.9 nats or more.
_HALF_TOLERANCE_NATS = 0.75


class PlainScorer:
    """Answer each prompt by a separate forward pass; equal prompts share one."""

    def __init__(self, language_model: LanguageModel) -> None:
        self.language_model = language_model

    def score(
        self,
        prompts: Sequence[Tokens],
        named: Sequence[NamedTokens] | None = None,
        owner: str = "",  # noqa: ARG002 - nothing is kept, whoever owns it
    ) -> list[NextToken]:
        """Score each prompt."""
        known: dict[bytes, torch.Tensor] = {}
        answers = []
        for prompt, wanted in zip(prompts, named or [None] * len(prompts), strict=True):
            key = prompt.tobytes()
            cost = 0 if key in known else len(prompt)
            if cost:
                known[key] = self.language_model.plain(prompt)
            answers.append(NextToken(only_named(known[key], wanted), cost))
        return answers


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Options; `cache_tokens` None means 512 MiB, `pack_tokens` None a value for the device."""

    cache_tokens: int | None = None
    pack_tokens: int | None = None


class Engine:
    """Next-token log-probabilities for batches of prompts, with their total cost.

    `tokens_sent` and `tokens_computed` count since the start.
    """

    def __init__(self, language_model: LanguageModel, limits: CacheLimits) -> None:
        self.language_model = language_model
        self.tokens_sent = 0
        self.tokens_computed = 0
        self._packed = packed_scorer(language_model, limits)
        self._scorer = self._packed or PlainScorer(language_model)

    @property
    def cached_tokens(self) -> int:
        """The number of tokens in the prefix cache."""
        return self._packed.cache.tokens if self._packed else 0

    @property
    def cache_capacity(self) -> int:
        """The capacity of the prefix cache in tokens; 0 without one."""
        return self._packed.cache.capacity if self._packed else 0

    def score(
        self,
        prompts: Sequence[Sequence[int] | Tokens],
        named: Sequence[NamedTokens] | None = None,
        adapters: Sequence[Adapter | None] | None = None,
    ) -> list[NextToken]:
        """Score each prompt: all log-probabilities, or those of the token ids that are `named` for it.

        `adapters` has the adapter of each prompt, None for the language model itself. The engine scores the prompts of
        each adapter as a separate batch. Raises ValueError for a prompt that is empty, too long or has invalid ids.
        """
        arrays = token_arrays(prompts)
        for array in arrays:
            self._check(array)
        answers = self._by_adapter(arrays, named or [None] * len(arrays), adapters or [None] * len(arrays))
        self.tokens_sent += sum(map(len, arrays))
        self.tokens_computed += sum(answer.computed for answer in answers)
        return answers

    def forget(self, adapter: Adapter) -> None:
        """Free the prefix cache of an adapter."""
        if self._packed:
            self._packed.cache.forget(adapter.sha)

    def _by_adapter(
        self, prompts: Sequence[Tokens], named: Sequence[NamedTokens], adapters: Sequence[Adapter | None]
    ) -> list[NextToken]:
        groups: dict[str, list[int]] = {}
        for number, adapter in enumerate(adapters):
            groups.setdefault(adapter.sha if adapter else "", []).append(number)
        found: dict[int, NextToken] = {}
        for owner, numbers in groups.items():
            with self.language_model.adapted(adapters[numbers[0]]):
                answers = self._scorer.score([prompts[n] for n in numbers], [named[n] for n in numbers], owner)
            found.update(zip(numbers, answers, strict=True))
        return [found[number] for number in range(len(prompts))]

    def _check(self, prompt: Tokens) -> None:
        if not 0 < len(prompt) <= self.language_model.context_tokens:
            raise ValueError(f"a prompt has 1 to {self.language_model.context_tokens} tokens, this one {len(prompt)}")
        if not 0 <= prompt.min() <= prompt.max() < self.language_model.vocabulary:
            raise ValueError(f"token ids are from 0 to {self.language_model.vocabulary - 1}")


def packed_scorer(language_model: LanguageModel, limits: CacheLimits) -> PackedScorer | None:
    """Build a scorer with a prefix cache if the language model gives the same answers through it."""
    reason = _why_not(language_model)
    if reason is None:
        try:
            scorer = _build(language_model, limits)
            difference = _difference(language_model, scorer)
        except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError) as error:
            reason = f"it does not take packed prompts ({error})"
        else:
            tolerance = _TOLERANCE_NATS if language_model.precision == "float32" else _HALF_TOLERANCE_NATS
            if difference <= tolerance:
                return _build(language_model, limits)
            reason = f"packed prompts score {difference:.2g} nats off"
    logger.warning("%s runs without a prefix cache: %s", language_model.name, reason)
    return None


def _why_not(language_model: LanguageModel) -> str | None:
    if "position_ids" not in language_model.parameters:
        return "its positions cannot be set"
    return language_model.attention.refusal


def _build(language_model: LanguageModel, limits: CacheLimits) -> PackedScorer:
    pack_tokens = limits.pack_tokens or (512 if language_model.device.type == "cpu" else 2048)
    cache_tokens = limits.cache_tokens
    if cache_tokens is None:
        fitting = CACHE_BYTES // max(1, language_model.key_value_bytes())
        cache_tokens = max(fitting, language_model.context_tokens + pack_tokens)
    return PackedScorer(language_model, cache_tokens, pack_tokens)


def _difference(language_model: LanguageModel, scorer: PackedScorer) -> float:
    """Largest difference in nats between packed and plain scores on a small tree of synthetic prompts.

    This test narrows a sliding window until the longest prompt exceeds it by half. A prompt longer than the true window
    would take minutes on the CPU, and the narrow window also shows whether both ways see the same tokens.
    """
    rng = Random(0)
    length = min(16, language_model.context_tokens // 4)

    def run() -> list[int]:
        return [rng.randrange(language_model.vocabulary) for _ in range(length)]

    trunk, limb = run(), run()
    prompts = token_arrays([trunk, trunk + limb + run(), trunk + limb + run()[:3], trunk + run(), run()])
    with language_model.narrowed(length + length // 2):
        answers = [scorer.score(prompts[:2]), scorer.score(prompts)]
        plain = [language_model.plain(prompt) for prompt in prompts]
    pairs = [*zip(answers[0], plain[:2], strict=True), *zip(answers[1], plain, strict=True)]
    return max(float((answer.log_probabilities - expected).abs().max()) for answer, expected in pairs)
