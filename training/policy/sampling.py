"""Completions drawn from a language model, and what each of them cost in KL divergence from the base."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from training.base import Base
from training.data.collation import Forward
from training.data.tokenization import Ids
from training.errors import BaseUnusable, Refused

_NGRAM = 2


@dataclass(frozen=True, slots=True)
class Ending:
    """How a completion ends: behind so many tokens, or with one of `ends`; `pad` fills up shorter ones."""

    most_tokens: int
    ends: tuple[int, ...]
    pad: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What a language model wrote behind a prompt: its text without the token that ended it, and all its tokens."""

    text: str
    ids: Ids


def ending_of(base: Base, tokenizer: PreTrainedTokenizerBase, stop: str | None, most_tokens: int) -> Ending:
    """What ends a completion: the tokens by which the base ends a text or a turn, and a text of one token on request.

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
    return Ending(most_tokens, tuple(dict.fromkeys(ends)), pad)


def _declared_ends(file: Path) -> list[int]:
    """Tokens that end what this language model writes, by its own configuration; chat models end turns by others."""
    if not file.is_file():
        return []
    try:
        declared = json.loads(file.read_text("utf-8")).get("eos_token_id")
    except (ValueError, AttributeError) as error:
        raise BaseUnusable("base: its generation_config.json is no JSON object") from error
    found = declared if isinstance(declared, list) else [declared]
    return [token for token in found if isinstance(token, int)]


def _behind_a_word(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a text as it stands behind a word."""
    wide: Any = tokenizer
    before = wide("a", add_special_tokens=False)["input_ids"]
    whole: list[int] = wide("a" + text, add_special_tokens=False)["input_ids"]
    return whole[len(before) :] if whole[: len(before)] == before else whole


def completion_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], ending: Ending) -> Completion:
    """Tokens up to the first that ends a completion, and their text without it."""
    end = next((place for place, token in enumerate(ids) if token in ending.ends), None)
    kept = tuple(ids if end is None else ids[: end + 1])
    said = kept if end is None else kept[:-1]
    text: Any = tokenizer.decode(list(said), skip_special_tokens=True)
    return Completion(str(text), kept)


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws completions. The draws depend on the seed alone, and torch's own generator stays as it was."""

    tokenizer: PreTrainedTokenizerBase
    ending: Ending
    forward: Forward
    seed: int
    rows_at_once: int
    check: Callable[[], None]  # called before each batch; may raise

    def draw(self, module: Any, prompts: Sequence[Ids]) -> list[Completion]:
        """A completion behind each prompt, at temperature 1."""
        drawn: list[Completion] = []
        devices = [module.device] if module.device.type == "cuda" else []
        training = module.training
        module.eval()
        try:
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(self.seed)
                for batch in self._batches(prompts):
                    drawn += self._drawn(module, batch)
        finally:
            module.train(training)
        return drawn

    def nats(self, module: Any, prompts: Sequence[Ids], completions: Sequence[Completion]) -> list[float]:
        """log p(completion | prompt) of each in nats, its ending token included."""
        found: list[float] = []
        training = module.training
        module.eval()
        try:
            rows = list(zip(prompts, completions, strict=True))
            for start in range(0, len(rows), self.rows_at_once):
                self.check()
                found += self._nats(module, rows[start : start + self.rows_at_once])
        finally:
            module.train(training)
        return found

    def _batches(self, prompts: Sequence[Ids]) -> Iterator[Sequence[Ids]]:
        for start in range(0, len(prompts), self.rows_at_once):
            self.check()
            yield prompts[start : start + self.rows_at_once]

    @torch.inference_mode()
    def _drawn(self, module: Any, prompts: Sequence[Ids]) -> list[Completion]:
        longest = max(map(len, prompts))
        ids = torch.full((len(prompts), longest), self.ending.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        config = GenerationConfig(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            max_new_tokens=self.ending.most_tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=self.ending.pad,
            eos_token_id=list(self.ending.ends),
            disable_compile=True,
        )
        made = module.generate(
            input_ids=ids.to(module.device), attention_mask=mask.to(module.device), generation_config=config
        )
        return [completion_of(self.tokenizer, row, self.ending) for row in made[:, longest:].tolist()]

    @torch.inference_mode()
    def _nats(self, module: Any, rows: Sequence[tuple[Ids, Completion]]) -> list[float]:
        kept = max(len(completion.ids) for _, completion in rows) + 1
        batch = self.forward.batch([prompt + completion.ids for prompt, completion in rows], kept)
        moved = {name: value.to(module.device) if torch.is_tensor(value) else value for name, value in batch.items()}
        logs = module(**moved).logits[:, -kept:].float().log_softmax(-1).cpu()
        found = []
        for row, (_, completion) in enumerate(rows):
            said = torch.tensor(completion.ids)
            places = torch.arange(kept - 1 - len(completion.ids), kept - 1)
            found.append(float(logs[row, places, said].sum()))
        return found


def repetition(ids: Sequence[int]) -> float:
    """The share of a completion's pairs of adjacent tokens that stood in it before; 0 for one of two tokens or less."""
    pairs = [tuple(ids[place : place + _NGRAM]) for place in range(len(ids) - _NGRAM + 1)]
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0
