"""Tiny random language models, and the expected scores of their prompts."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.batching.packed import NextToken
from inference.engine import CacheLimits, Engine
from inference.model.language_model import LanguageModel

CONTEXT_TOKENS = 256
BOS, EOS = "<s>", "</s>"
LINES = (
    "The city of Paris is in France. True",
    "The city of Rome is in Spain. False",
    "Fifty-one is larger than sixty-two. False",
    "Question: 12 + 5\nClaim: 17\nI think this claim is True",
)


def train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that puts a BOS first, like the small model's."""
    kind: Any = PreTrainedTokenizerFast  # its constructor is untyped
    made: PreTrainedTokenizerFast = kind(tokenizer_object=Tokenizer.from_str(_trained()), bos_token=BOS, eos_token=EOS)
    return made


@cache
def _trained() -> str:
    """The trained tokenizer in JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("\n"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    written: str = tokenizer.to_str()
    return written


def llama(
    *,
    key_value_heads: int = 2,
    seed: int = 0,
    context_tokens: int = CONTEXT_TOKENS,
    rope: dict[str, Any] | None = None,
) -> LlamaForCausalLM:
    """A Llama of two layers with heads of 64, and with weights so large that scores differ by nats."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=key_value_heads,
        head_dim=64,
        intermediate_size=96,
        max_position_embeddings=context_tokens,
        rope_parameters=rope,
        initializer_range=0.1,
        bos_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def bigrams(followers: Mapping[str, str], *, nats: float = 8.0) -> LlamaForCausalLM:
    """A language model that knows only which token follows which; all other tokens are about equally likely.

    Its layers add nothing, so that its last state is the last token's embedding.
    """
    module, tokenizer = llama(), train_tokenizer()
    with torch.no_grad():
        for layer in module.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings = module.model.embed_tokens.weight
        embeddings.copy_(torch.nn.functional.normalize(torch.randn(embeddings.shape), dim=1))
        module.lm_head.weight.zero_()
        for token, follower in followers.items():
            [one], [other] = (tokenizer.encode(text, add_special_tokens=False) for text in (token, follower))
            state = module.model.norm(embeddings[one])
            module.lm_head.weight[other] += nats * state / state.square().sum()
    return module


def gpt2() -> GPT2LMHeadModel:
    """A GPT-2, with learned positions instead of rotary ones."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=400, n_embd=128, n_layer=2, n_head=2, n_positions=CONTEXT_TOKENS, bos_token_id=0, eos_token_id=1
    )
    return GPT2LMHeadModel(config)


def save(folder: Path) -> None:
    """Write a tiny Llama and its tokenizer as a Hugging Face folder."""
    llama().save_pretrained(folder)
    train_tokenizer().save_pretrained(folder)


def engine_of(module: torch.nn.Module, *, cache_tokens: int = 4096, pack_tokens: int = 64) -> Engine:
    """An engine over a tiny model."""
    language_model = LanguageModel(module, train_tokenizer(), "tiny")
    return Engine(language_model, CacheLimits(cache_tokens, pack_tokens))


def plain_scores(engine: Engine, prompt: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of the next token, by a forward pass over this prompt alone."""
    return scores_of(engine.language_model.module, prompt)


@torch.inference_mode()
def scores_of(module: Any, prompt: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of the next token by a language model in evaluation mode."""
    logits: torch.Tensor = module(torch.tensor([list(prompt)])).logits[0, -1]
    return logits.log_softmax(-1)


def largest_difference(engine: Engine, prompts: Sequence[Sequence[int]], answers: Sequence[NextToken]) -> float:
    """The largest difference, in nats, between the answers and plain unshared computation."""
    return max(
        float((answer.log_probabilities - plain_scores(engine, prompt)).abs().max())
        for prompt, answer in zip(prompts, answers, strict=True)
    )


def draw_tokens(rng: Random, count: int) -> list[int]:
    """A random run of tokens."""
    return [rng.randrange(2, 400) for _ in range(count)]


def divide_and_conquer(rows: Sequence[Sequence[int]], context: Sequence[int]) -> list[list[int]]:
    """The prompt of each row behind all other rows, in the order that shares most."""
    if len(rows) == 1:
        return [[*context, *rows[0][:-1]]]
    half = len(rows) // 2
    left, right = rows[:half], rows[half:]
    return [
        *divide_and_conquer(left, [*context, *_flat(right)]),
        *divide_and_conquer(right, [*context, *_flat(left)]),
    ]


def trie_size(prompts: Iterable[Sequence[int]]) -> int:
    """The number of tokens that an ideal cache computes: distinct prefixes."""
    return len({tuple(prompt[:end]) for prompt in prompts for end in range(1, len(prompt) + 1)})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


def _flat(rows: Sequence[Sequence[int]]) -> list[int]:
    return [token for row in rows for token in row]
