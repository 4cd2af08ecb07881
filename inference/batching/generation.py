"""One prompt in the server: its request and its answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from inference.batching.packed import NamedTokens, NextToken
from inference.cache.prefix_cache import Tokens
from inference.model.tokenization import PromptTokenizer

FinishReason = Literal["length", "eos_token", "stop_sequence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """A request for the likeliest continuation, token by token.

    Each token comes with the `top_n` likeliest ones and those in `token_ids`. With
    `max_new_tokens` 0 the server generates nothing and scores the named tokens only.
    """

    prompt: Sequence[int] | Tokens
    max_new_tokens: int = 1
    top_n: int = 0
    token_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()

    @property
    def named(self) -> NamedTokens:
        """The tokens whose scores suffice; None if choosing the likeliest needs all."""
        return None if self.max_new_tokens else self.token_ids


@dataclass(frozen=True, slots=True)
class ScoredTokens:
    """Token ids with their log-probabilities in nats, in the same order."""

    ids: list[int]
    log_probabilities: list[float]


@dataclass(frozen=True, slots=True)
class Step:
    """A generated token, the likeliest ones in its place, best first, and those requested by id."""

    token: int
    log_probability: float
    top: ScoredTokens
    named: ScoredTokens


@dataclass(slots=True)
class Generation:
    """A request with its answer so far; `computed_tokens` counts the prompt's tokens outside the cache.

    `scores` has the named tokens' log-probabilities if the server generates nothing. Times are
    in seconds: in the queue, and in computation.
    """

    request: GenerationRequest
    steps: list[Step] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    computed_tokens: int = 0
    finish_reason: FinishReason | None = None
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0

    @property
    def generated(self) -> list[int]:
        """The generated tokens."""
        return [step.token for step in self.steps]

    def tokens_so_far(self) -> Tokens:
        """The tokens that the language model reads next."""
        prompt = np.asarray(self.request.prompt, np.int32)
        return np.concatenate([prompt, np.array(self.generated, np.int32)]) if self.steps else prompt

    def score(self, answer: NextToken) -> None:
        """Store the scores of the named tokens, if the request asks for nothing else."""
        self.computed_tokens = answer.computed
        self.scores = answer.log_probabilities.tolist()
        self.finish_reason = "length"

    def add(self, step: Step, computed: int, tokenizer: PromptTokenizer) -> None:
        """Append the next token, and check whether it is the last."""
        if not self.steps:
            self.computed_tokens = computed
        self.steps.append(step)
        if step.token == tokenizer.end_of_text:
            self.finish_reason = "eos_token"
        elif self.request.stop and self._says_stop(tokenizer):
            self.finish_reason = "stop_sequence"
        elif len(self.steps) >= self.request.max_new_tokens:
            self.finish_reason = "length"

    def _says_stop(self, tokenizer: PromptTokenizer) -> bool:
        text = tokenizer.continuation(self.request.prompt, self.generated)
        return any(stop in text for stop in self.request.stop)


def advance(generations: Sequence[Generation], answers: Sequence[NextToken], tokenizer: PromptTokenizer) -> None:
    """Add the language model's answer to each: the next token, or the scores of named ones."""
    growing = []
    for generation, answer in zip(generations, answers, strict=True):
        if generation.request.named is None:
            growing.append((generation, answer))
        else:
            generation.score(answer)
    steps = choose([answer for _, answer in growing], [generation.request for generation, _ in growing])
    for (generation, answer), step in zip(growing, steps, strict=True):
        generation.add(step, answer.computed, tokenizer)


def choose(answers: Sequence[NextToken], requests: Sequence[GenerationRequest]) -> list[Step]:
    """The likeliest token of each answer, and the other tokens of its request.

    If several tokens tie for the last place among the likeliest, the answer has all of them.
    """
    if not answers:
        return []
    scores = torch.stack([answer.log_probabilities for answer in answers])
    best = scores.max(dim=-1)
    widest = min(max(request.top_n for request in requests), scores.shape[-1])
    top = torch.topk(scores, widest) if widest else None
    steps = []
    for row, request in enumerate(requests):
        likeliest = ScoredTokens([], [])
        if request.top_n and top is not None:
            likeliest = _with_ties(scores[row], top.values[row], top.indices[row], request.top_n)
        named = ScoredTokens(list(request.token_ids), scores[row, list(request.token_ids)].tolist())
        steps.append(Step(int(best.indices[row]), float(best.values[row]), likeliest, named))
    return steps


def _with_ties(scores: torch.Tensor, values: torch.Tensor, ids: torch.Tensor, count: int) -> ScoredTokens:
    count = min(count, len(scores))
    tied = int((scores >= values[count - 1]).sum())
    if tied > len(values):
        values, ids = torch.topk(scores, tied)
    return ScoredTokens(ids[:tied].tolist(), values[:tied].tolist())
