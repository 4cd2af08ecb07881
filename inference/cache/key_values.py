"""Keys and values of cached tokens, in slots, and a forward pass's view of them."""

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class PooledLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # transformers leaves its hooks untyped
    """One layer's keys and values, each of shape (slots, heads, width), allocated on first use.

    A forward pass writes its new tokens into their slots and reads all the tokens it sees.
    """

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.capacity = capacity
        self.seen = torch.empty(0, dtype=torch.int64)  # slots of the tokens seen, the new ones last
        self.new = 0  # how many of them are new

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate the slots in the shape that the language model's keys and values have."""
        self.keys = key_states.new_empty((self.capacity, key_states.shape[1], key_states.shape[3]))
        self.values = value_states.new_empty((self.capacity, value_states.shape[1], value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new tokens' keys and values (1, heads, new, width); return those of all tokens seen."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._exchange(self.keys, key_states), self._exchange(self.values, value_states)

    def _exchange(self, pool: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
        if pool is None:
            raise RuntimeError("the layer has no slots yet")
        pool.index_copy_(0, self.seen[len(self.seen) - self.new :], states[0].transpose(0, 1))
        return pool.index_select(0, self.seen).transpose(0, 1).unsqueeze(0)

    def get_seq_length(self) -> int:
        """Tokens seen that are not new."""
        return len(self.seen) - self.new

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the tokens seen."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """Bounded by the slots alone."""
        return self.capacity


class PooledKeyValues(Cache):
    """Keys and values of every layer, as a language model takes them."""

    def __init__(self, layers: int, capacity: int) -> None:
        self.pooled = [PooledLayer(capacity) for _ in range(layers)]
        super().__init__(layers=list(self.pooled))

    def show(self, seen: torch.Tensor, new: int) -> None:
        """Prepare a forward pass: the slots of the tokens it sees, the last `new` of which it computes."""
        for layer in self.pooled:
            layer.seen, layer.new = seen, new
