"""The prefix caches of servers, each with its own block size and replacement rule."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field


class PrefixCache:
    """A cache of prefixes in whole blocks of `block_tokens`; the last token of a prompt is always computed."""

    def __init__(self, block_tokens: int = 1) -> None:
        self.block_tokens = block_tokens
        self._known: set[int] = set()

    def cached(self, ids: Sequence[int], *, salt: Hashable = None) -> int:
        """The number of tokens of this prompt that are cached."""
        found = 0
        for length, key in self._prefixes(ids, salt):
            if length >= len(ids) or key not in self._known:
                break
            found = length
        return found

    def insert(self, ids: Sequence[int], *, salt: Hashable = None) -> None:
        """Cache every whole block of this prompt."""
        self._known.update(key for _, key in self._prefixes(ids, salt))

    def clear(self) -> None:
        """Empty the cache."""
        self._known.clear()

    def _prefixes(self, ids: Sequence[int], salt: Hashable) -> list[tuple[int, int]]:
        """The prefixes in whole blocks: each length with a key for the tokens up to there."""
        block, key, found = self.block_tokens, hash(("prefix", salt)), []
        for start in range(0, len(ids) - block + 1, block):
            key = hash((key, *ids[start : start + block]))
            found.append((start + block, key))
        return found


@dataclass
class _Slot:
    ids: tuple[int, ...] = ()
    busy: bool = False
    used: int = 0


@dataclass
class SlotCache:
    """llama.cpp's cache: every slot keeps the last prompt it read.

    A free slot is chosen that shares the most with a prompt, if that is a tenth of the prompt at
    least; else the one that was used the longest time ago.
    """

    slots: int
    similarity: float = 0.10
    _all: list[_Slot] = field(init=False)
    _clock: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Empty the cache."""
        self._all = [_Slot() for _ in range(self.slots)]

    def take(self, ids: Sequence[int], *, wanted: int = -1, reuse: bool = True) -> tuple[int, int]:
        """Occupy a free slot; returns its number and how many tokens it has cached."""
        free = [number for number, slot in enumerate(self._all) if not slot.busy]
        number = wanted if wanted in free else self._choice(ids, free)
        slot = self._all[number]
        cached = min(_shared(slot.ids, ids), max(0, len(ids) - 1)) if reuse else 0
        self._clock += 1
        slot.ids, slot.busy, slot.used = tuple(ids), True, self._clock
        return number, cached

    def give_back(self, number: int) -> None:
        """Free the slot; it keeps its prompt."""
        self._all[number].busy = False

    def _choice(self, ids: Sequence[int], free: Sequence[int]) -> int:
        best = max(free, key=lambda number: _shared(self._all[number].ids, ids))
        if ids and _shared(self._all[best].ids, ids) / len(ids) > self.similarity:
            return best
        return min(free, key=lambda number: self._all[number].used)


def _shared(one: Sequence[int], two: Sequence[int]) -> int:
    count = 0
    for left, right in zip(one, two, strict=False):
        if left != right:
            break
        count += 1
    return count
