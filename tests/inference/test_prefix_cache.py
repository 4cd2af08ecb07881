"""The radix tree: finds the longest prefix, keeps to its budget, never hands out a slot twice."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.cache.prefix_cache import CacheFull, PrefixCache, Tokens
from tests.long import examples

CAPACITY = 24


def tokens(*values: int) -> Tokens:
    return np.array(values, np.int32)


def hold(cache: PrefixCache, prompt: Tokens) -> None:
    """Put a prompt in the cache as an engine does: keep what is found, allocate the rest."""
    found = cache.match(prompt)
    node = cache.pin(found.node)
    slots = np.concatenate([found.slots, cache.allocate(len(prompt) - found.length)])
    cache.insert(prompt, slots, found.length)
    cache.unpin(node)


@dataclass
class Twin:
    """What each slot holds according to a dictionary: the prefix that ends there."""

    cache: PrefixCache
    prefixes: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def hold(self, prompt: Tokens) -> None:
        before = self.cache.match(prompt).length
        hold(self.cache, prompt)
        for position, slot in enumerate(self.cache.match(prompt).slots):
            if position >= before:
                self.prefixes[int(slot)] = tuple(prompt[: position + 1].tolist())

    def check(self, prompt: Tokens) -> None:
        found = self.cache.match(prompt)
        assert len(found.slots) == found.length
        for position, slot in enumerate(found.slots):
            assert self.prefixes[int(slot)] == tuple(prompt[: position + 1].tolist())


prompts = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(lambda values: tokens(*values))


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(prompts, max_size=30))
def test_a_found_prefix_is_the_prompts_own_and_the_budget_holds(drawn: list[Tokens]) -> None:
    twin = Twin(PrefixCache(CAPACITY))
    for prompt in drawn:
        twin.hold(prompt)
        assert twin.cache.match(prompt).length == len(prompt)
        assert 0 <= twin.cache.tokens <= CAPACITY
        for other in drawn:
            twin.check(other)
    twin.cache.clear()
    assert twin.cache.tokens == 0
    assert sorted(twin.cache.allocate(CAPACITY)) == list(range(CAPACITY))


@settings(max_examples=examples(100), deadline=None)
@given(prompts, st.lists(prompts, max_size=30))
def test_pinned_runs_stay_until_unpinned(kept: Tokens, drawn: list[Tokens]) -> None:
    twin = Twin(PrefixCache(CAPACITY))
    twin.hold(kept)
    node = twin.cache.pin(twin.cache.match(kept).node)
    for prompt in drawn:
        twin.hold(prompt)
        found = twin.cache.match(kept)
        assert found.length == len(kept)
        twin.check(kept)
    twin.cache.unpin(node)
    assert len(twin.cache.allocate(CAPACITY)) == CAPACITY


def test_a_prefix_is_found_token_by_token() -> None:
    cache = PrefixCache(CAPACITY)
    hold(cache, tokens(1, 2, 3, 4))
    hold(cache, tokens(1, 2, 5))
    assert cache.tokens == 5
    assert cache.match(tokens(1, 2, 3, 9)).length == 3
    assert cache.match(tokens(1, 2, 5, 6)).length == 3
    assert cache.match(tokens(2)).length == 0


def test_the_longest_unused_run_is_evicted_first() -> None:
    cache = PrefixCache(9)
    for first in (1, 2, 3):
        hold(cache, tokens(first, first, first))
    cache.match(tokens(1, 1, 1))
    hold(cache, tokens(4, 4, 4))
    assert [cache.match(tokens(first, first, first)).length for first in (1, 2, 3, 4)] == [3, 0, 3, 3]


def test_only_as_much_of_a_run_is_dropped_as_room_is_needed() -> None:
    cache = PrefixCache(8)
    hold(cache, tokens(1, 2, 3, 4, 5, 6))
    hold(cache, tokens(7, 8, 9, 10))
    assert cache.match(tokens(1, 2, 3, 4, 5, 6)).length == 4
    assert cache.tokens == 8


def test_tokens_computed_twice_are_held_once() -> None:
    cache = PrefixCache(8)
    hold(cache, tokens(1, 2, 3))
    again = cache.allocate(1)
    slots = np.concatenate([cache.match(tokens(1, 2)).slots, again])
    held = cache.match(tokens(1, 2, 3)).slots.tolist()
    cache.insert(tokens(1, 2, 3), slots, 2)
    assert slots.tolist() == held
    assert cache.tokens == 3
    assert len(cache.allocate(5)) == 5


def test_tokens_without_their_prefix_are_refused() -> None:
    cache = PrefixCache(8)
    with pytest.raises(ValueError, match="from 0 to 2 are missing"):
        cache.insert(tokens(1, 2, 3), np.arange(3), 2)


def test_more_than_fits_beside_the_pinned_is_refused() -> None:
    cache = PrefixCache(8)
    hold(cache, tokens(1, 2, 3))
    cache.pin(cache.match(tokens(1, 2, 3)).node)
    with pytest.raises(CacheFull):
        cache.allocate(6)
