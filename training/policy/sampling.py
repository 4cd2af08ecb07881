"""Draws completions from a language model, computes their log-probabilities, and measures repetition in them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from training.base import Base
from training.data.collation import evaluating, last_log_probabilities, padded_left
from training.data.tokenization import Ids
from training.errors import BaseUnusable, Refused

_NGRAM = 2
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of completions: after `max_tokens` tokens, or with one of the tokens `ends`; `pad` fills shorter ones."""

    max_tokens: int
    ends: tuple[int, ...]
    pad: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A language model's completion of a prompt: the text without the token that ended it, and all tokens."""

    text: str
    ids: Ids


def ending_of(base: Base, tokenizer: PreTrainedTokenizerBase, stop: str | None, max_tokens: int) -> Ending:
    """The end of completions: the base's tokens for the end of a text or turn, and the token of `stop` if given.

    Raises Refused and BaseUnusable.
    """
    wide: Any = tokenizer
    if wide.eos_token_id is None:
        raise BaseUnusable("base: its tokenizer has no end of text; kind policy needs one")
    ends = [wide.eos_token_id, *_declared_ends(base.folder / "generation_config.json")]
    if stop is not None:
        ids = _behind_a_word(tokenizer, stop)
        if len(ids) != 1:
            raise Refused(f"policy.stop: {stop!r} is {len(ids)} tokens to this base; take a text of one token")
        ends += ids
    pad = wide.eos_token_id if wide.pad_token_id is None else wide.pad_token_id
    return Ending(max_tokens, tuple(dict.fromkeys(ends)), pad)


def _declared_ends(file: Path) -> list[int]:
    """The end tokens in the language model's own configuration; chat models end their turns with further ones."""
    if not file.is_file():
        return []
    try:
        declared = json.loads(file.read_text("utf-8")).get("eos_token_id")
    except (ValueError, AttributeError) as error:
        raise BaseUnusable("base: its generation_config.json is no JSON object") from error
    found = declared if isinstance(declared, list) else [declared]
    return [token for token in found if isinstance(token, int)]


def _behind_a_word(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a text that follows a word."""
    wide: Any = tokenizer
    before = wide("a", add_special_tokens=False)["input_ids"]
    whole: list[int] = wide("a" + text, add_special_tokens=False)["input_ids"]
    return whole[len(before) :] if whole[: len(before)] == before else whole


def completion_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], ending: Ending) -> Completion:
    """The completion up to its first end token, and its text without that token."""
    end = next((index for index, token in enumerate(ids) if token in ending.ends), None)
    kept = tuple(ids if end is None else ids[: end + 1])
    written = kept if end is None else kept[:-1]
    text: Any = tokenizer.decode(list(written), skip_special_tokens=True)
    return Completion(str(text), kept)


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws completions. The draws depend on the seed alone, and torch's global generator stays unchanged."""

    tokenizer: PreTrainedTokenizerBase
    ending: Ending
    seed: int
    rows_at_once: int
    check: Callable[[], None]  # called before each batch; may raise

    def draw(self, module: Any, prompts: Sequence[Ids]) -> list[Completion]:
        """A completion of each prompt, at temperature 1."""
        drawn: list[Completion] = []
        devices = [module.device] if module.device.type == "cuda" else []
        with evaluating(module), torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed)
            for batch in self._batches(prompts):
                drawn += self._drawn(module, batch)
        return drawn

    def nats(self, module: Any, prompts: Sequence[Ids], completions: Sequence[Completion]) -> list[float]:
        """log p(completion | prompt) in nats for each pair, with the end token."""
        with evaluating(module):
            batches = self._batches(list(zip(prompts, completions, strict=True)))
            return [nats for batch in batches for nats in _nats(module, batch)]

    def _batches(self, rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
        for start in range(0, len(rows), self.rows_at_once):
            self.check()
            yield rows[start : start + self.rows_at_once]

    @torch.inference_mode()
    def _drawn(self, module: Any, prompts: Sequence[Ids]) -> list[Completion]:
        ids, mask = padded_left(prompts, self.ending.pad)
        config = GenerationConfig(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            max_new_tokens=self.ending.max_tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=self.ending.pad,
            eos_token_id=list(self.ending.ends),
            disable_compile=True,
        )
        generated = module.generate(
            input_ids=ids.to(module.device), attention_mask=mask.to(module.device), generation_config=config
        )
        return [completion_of(self.tokenizer, row, self.ending) for row in generated[:, ids.shape[1] :].tolist()]


def _nats(module: Any, rows: Sequence[tuple[Ids, Completion]]) -> Iterator[float]:
    """log p(completion | prompt) of each row of a batch."""
    kept = max(len(completion.ids) for _, completion in rows) + 1
    logs = last_log_probabilities(module, [prompt + completion.ids for prompt, completion in rows], kept)
    for row, (_, completion) in enumerate(rows):
        indices = torch.arange(kept - 1 - len(completion.ids), kept - 1)
        yield float(logs[row, indices, torch.tensor(completion.ids)].sum())


def repetition(ids: Sequence[int]) -> float:
    """The share of pairs of adjacent tokens that occur earlier in the completion; 0 if it has at most two tokens."""
    pairs = [tuple(ids[index : index + _NGRAM]) for index in range(len(ids) - _NGRAM + 1)]
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0
