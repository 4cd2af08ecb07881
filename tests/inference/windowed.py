"""Tiny random language models with sliding windows, some with layers that a prefix cache must not serve."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.support.inference.tiny import CONTEXT_TOKENS

WINDOW = 12
_SIZES: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 96,
    "max_position_embeddings": CONTEXT_TOKENS,
    "initializer_range": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}


def made(kind: Any, config: Any, **more: Any) -> torch.nn.Module:
    """A language model of this kind with random weights; `more` goes into its configuration."""
    torch.manual_seed(0)
    module: torch.nn.Module = kind(config(**_SIZES, **more))
    return module


def gemma3(window: int = WINDOW, **more: Any) -> torch.nn.Module:
    """A model with a window in two layers and none in the third, each kind with its own rotary angles."""
    return made(
        Gemma3ForCausalLM, Gemma3TextConfig, head_dim=32, sliding_window=window, sliding_window_pattern=3, **more
    )


def mistral(window: int = WINDOW) -> torch.nn.Module:
    """A model with a window in every layer."""
    return made(MistralForCausalLM, MistralConfig, sliding_window=window)


def _some_layers(kind: Any, config: Any) -> torch.nn.Module:
    return made(kind, config, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1)


def gpt_neo() -> torch.nn.Module:
    """A model with local attention over positions in the pass, under other names."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 400, "hidden_size": 64, "num_layers": 2, "num_heads": 2, "intermediate_size": 96}
    types = [[["global", "local"], 1]]
    config: Any = GPTNeoConfig
    return GPTNeoForCausalLM(
        config(**sizes, window_size=8, attention_types=types, max_position_embeddings=CONTEXT_TOKENS)
    )


WINDOWED: dict[str, Callable[[], torch.nn.Module]] = {
    "gemma 3": gemma3,
    "gemma 2": lambda: made(Gemma2ForCausalLM, Gemma2Config, head_dim=32, sliding_window=WINDOW),
    "mistral": mistral,
    "qwen 2, some layers": lambda: _some_layers(Qwen2ForCausalLM, Qwen2Config),
    "qwen 3, some layers": lambda: _some_layers(Qwen3ForCausalLM, Qwen3Config),
    "cohere 2": lambda: made(Cohere2ForCausalLM, Cohere2Config, sliding_window=WINDOW),
    "phi 3": lambda: made(Phi3ForCausalLM, Phi3Config, sliding_window=WINDOW),
    "a window of one token": lambda: mistral(1),
    "a window longer than the self-test's prompts": lambda: gemma3(100),
}
REFUSED: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "llama 4": (
        lambda: made(
            Llama4ForCausalLM, Llama4TextConfig, head_dim=32, attention_chunk_size=8, intermediate_size_mlp=96,
            num_local_experts=2, no_rope_layer_interval=3,
        ),
        "it has layers of chunked attention",
    ),
    "gemma 3 for embeddings": (lambda: gemma3(use_bidirectional_attention=True), "its tokens see those that follow"),
    "gpt-neo": (gpt_neo, "it has layers of local attention"),
}  # fmt: skip
