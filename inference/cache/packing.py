"""Pack many prompts behind one path into a single forward pass.

A pack is a piece of the trie of all prompts: it computes every shared token once, and a block mask
lets each token see its own ancestors only (tree attention).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from inference.cache.prefix_cache import Slots, Tokens, common_length


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass over Q new tokens that see K tokens, the new ones last among them.

    `tokens` and `positions` have shape (Q,), `slots` and `seen_positions` (K,), `mask` (Q, K)
    is added to the attention scores (0 where a token is seen, else minus infinity), and
    `answers` names the rows whose next-token log-probabilities are wanted.
    """

    tokens: Tokens
    positions: npt.NDArray[np.int64]
    slots: Slots
    seen_positions: npt.NDArray[np.int64]
    mask: npt.NDArray[np.float32]
    answers: npt.NDArray[np.int64]

    def reaches_beyond(self, window: int) -> bool:
        """Whether some token lies at least a window after the first one seen, so that the window may separate them."""
        return bool(self.positions.max() - self.seen_positions.min() >= window)

    def mask_within(self, window: int) -> npt.NDArray[np.float32]:
        """The mask of a layer whose tokens see themselves and `window` - 1 positions before them."""
        near = self.seen_positions > self.positions[:, None] - window
        return np.where(near, self.mask, np.float32(-np.inf))


class SortedPrompts:
    """Distinct prompts in token order, so that neighbours share the longest prefixes.

    `shared[i]` is the number of tokens that prompt i has in common with the one before.
    """

    def __init__(self, prompts: Sequence[Tokens]) -> None:
        keys = [prompt.astype(">i4").tobytes() for prompt in prompts]
        distinct = {key: number for number, key in reversed(list(enumerate(keys)))}
        order = [distinct[key] for key in sorted(distinct)]
        place = {keys[number]: rank for rank, number in enumerate(order)}
        self.tokens = [prompts[number] for number in order]
        self.given: list[list[int]] = [[] for _ in order]  # for each sorted prompt, those given that equal it
        for number, key in enumerate(keys):
            self.given[place[key]].append(number)
        self.lengths = [len(tokens) for tokens in self.tokens]
        shared = (common_length(before, after) for before, after in pairwise(self.tokens))
        self.shared = [0, *shared] if order else []
        self._sizes = np.cumsum([length - shared for length, shared in zip(self.lengths, self.shared, strict=True)])

    def size(self, group: range, depth: int) -> int:
        """Tokens of the group's trie beyond `depth`, which all its prompts share."""
        first, last = group[0], group[-1]
        return int(self.lengths[first] - depth + self._sizes[last] - self._sizes[first])

    def common(self, group: range) -> int:
        """The number of tokens that all prompts of the group share."""
        return min([self.lengths[group[0]], *(self.shared[rank] for rank in group[1:])])

    def bundles(self, group: range, depth: int, limit: int) -> list[range]:
        """Split the group where its prompts differ at `depth`; small neighbours stay together up to `limit` tokens."""
        edges = [group[0], *(rank for rank in group[1:] if self.shared[rank] == depth), group[-1] + 1]
        bundles: list[range] = []
        for start, end in pairwise(edges):
            grown = range(bundles[-1].start if bundles else start, end)
            if bundles and self.size(grown, depth) <= limit:
                bundles[-1] = grown
            else:
                bundles.append(range(start, end))
        return bundles


@dataclass(frozen=True, slots=True)
class Branch:
    """A prompt's part of a pack: `cached` tokens (from the cache), then `new` ones, as positions in the prompt.

    Positions before `cached.start` belong to the path or to branches before this one.
    """

    tokens: Tokens
    cached: range
    new: range
    cached_slots: Slots
    new_slots: Slots


def pack_run(tokens: Tokens, path: Slots, new_slots: Slots, *, answered: bool) -> Pack:
    """A pack of one run of tokens behind a path; `answered` asks for the scores after its last token."""
    depth, length = len(path), len(tokens)
    mask = np.zeros((length, depth + length), np.float32)
    mask[:, depth:] = _causal(length)
    return Pack(
        tokens,
        np.arange(depth, depth + length),
        np.concatenate([path, new_slots]),
        np.arange(depth + length),
        mask,
        np.array([length - 1] if answered else [], np.int64),
    )


def pack_branches(branches: Sequence[Branch], path: Slots) -> Pack:
    """A pack of prompts in token order behind a path, with an answer at the end of every branch."""
    depth = len(path)
    first_new = depth + sum(len(branch.cached) for branch in branches)  # column of the first new token
    rows = sum(len(branch.new) for branch in branches)
    mask = np.full((rows, first_new + rows), -np.inf, np.float32)
    mask[:, :depth] = 0
    column_at = np.arange(max(branch.new.stop for branch in branches))  # of each position of the current prompt
    row, cached_column = 0, depth
    for branch in branches:
        count, new = len(branch.new), branch.new
        column_at[branch.cached.start : branch.cached.stop] = cached_column + np.arange(len(branch.cached))
        column_at[new.start : new.stop] = first_new + row + np.arange(count)
        mask[row : row + count, column_at[depth : new.start]] = 0
        mask[row : row + count, first_new + row : first_new + row + count] = _causal(count)
        row, cached_column = row + count, cached_column + len(branch.cached)
    positions = np.concatenate([branch.new for branch in branches])
    return Pack(
        np.concatenate([branch.tokens[branch.new.start : branch.new.stop] for branch in branches]),
        positions,
        np.concatenate([path, *(b.cached_slots for b in branches), *(b.new_slots for b in branches)]),
        np.concatenate([np.arange(depth), *(branch.cached for branch in branches), positions]),
        mask,
        np.cumsum([len(branch.new) for branch in branches]) - 1,
    )


def _causal(length: int) -> npt.NDArray[np.float32]:
    """Each token sees itself and those before it."""
    return np.triu(np.full((length, length), -np.inf, np.float32), 1)
