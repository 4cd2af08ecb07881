"""The attention of a language model's layers: over all earlier tokens, or within a sliding window."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

FULL, SLIDING = "full_attention", "sliding_attention"  # transformers' names in `layer_types`


@dataclass(frozen=True, slots=True)
class Attention:
    """The kinds of a language model's layers.

    In a sliding layer a token sees itself and `window` - 1 tokens before it (transformers 5.23,
    `masking_utils.sliding_window_overlay`). `window` is None if no prompt exceeds it.
    """

    kinds: frozenset[str]
    window: int | None = None
    is_causal: bool = True

    @property
    def is_mixed(self) -> bool:
        """Whether some layers have a window and others do not, so that a pass needs a mask for each kind."""
        return {FULL, SLIDING} <= self.kinds

    @property
    def refusal(self) -> str | None:
        """Why masks of packed prompts cannot express its attention; None if they can."""
        if not self.is_causal:
            return "its tokens see those that follow them"
        if others := self.kinds - {FULL, SLIDING}:
            return f"it has layers of {', '.join(sorted(others)).replace('_', ' ')}"
        return None


def attention_of(config: Any, context_tokens: int) -> Attention:
    """Read the configuration of a language model for text."""
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    kinds = frozenset(getattr(config, "layer_types", None) or [SLIDING if window else FULL])
    if "local" in (getattr(config, "attention_layers", None) or ()):  # GPT-Neo's, which count places, not positions
        kinds |= {"local_attention"}
    both_ways = getattr(config, "use_bidirectional_attention", None) in (True, "all")
    in_use = SLIDING in kinds and window is not None and window < context_tokens
    return Attention(kinds, window if in_use else None, getattr(config, "is_causal", True) and not both_ways)


@contextmanager
def narrowed(module: Any, window: int, narrow: int) -> Iterator[None]:
    """Narrow a language model's window while the context lasts, to test it with short prompts.

    transformers reads the window from the configuration in every forward pass; some layers hold a copy.
    """
    parts: dict[int, Any] = {id(part): part for sub in module.modules() for part in (sub, getattr(sub, "config", sub))}
    changed = [part for part in parts.values() if getattr(part, "__dict__", {}).get("sliding_window") == window]
    try:
        for part in changed:
            part.sliding_window = narrow
        yield
    finally:
        for part in changed:
            part.sliding_window = window
