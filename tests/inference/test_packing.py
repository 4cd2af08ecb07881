"""Prompts in token order: what they share, and how they are cut into passes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.cache.packing import SortedPrompts
from tests.long import examples
from tests.support.inference.tiny import trie_size

batches = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=12)


def ordered(prompts: list[list[int]]) -> SortedPrompts:
    return SortedPrompts([np.array(prompt, np.int32) for prompt in prompts])


@settings(max_examples=examples(150), deadline=None)
@given(batches)
def test_the_size_of_a_batch_is_that_of_its_trie(prompts: list[list[int]]) -> None:
    made = ordered(prompts)
    assert made.size(range(len(made.tokens)), 0) == trie_size(prompts)


@settings(max_examples=examples(150), deadline=None)
@given(batches)
def test_every_prompt_finds_its_place(prompts: list[list[int]]) -> None:
    made = ordered(prompts)
    assert all(
        prompts[number] == made.tokens[rank].tolist() for rank in range(len(made.tokens)) for number in made.given[rank]
    )
    assert sorted(number for numbers in made.given for number in numbers) == list(range(len(prompts)))
    assert [prompts[numbers[0]] for numbers in made.given] == sorted(map(list, {tuple(prompt) for prompt in prompts}))
    assert all(numbers == sorted(numbers) for numbers in made.given)


@settings(max_examples=examples(150), deadline=None)
@given(batches, st.integers(1, 20))
def test_bundles_cover_a_group_in_order_and_keep_to_the_limit(prompts: list[list[int]], limit: int) -> None:
    made = ordered(prompts)
    group = range(len(made.tokens))
    depth = made.common(group)
    group = group[1:] if made.lengths[0] == depth else group
    bundles = made.bundles(group, depth, limit) if group else []
    assert [rank for bundle in bundles for rank in bundle] == list(group)
    for bundle in bundles:
        splits = any(made.shared[rank] == depth for rank in bundle[1:])
        assert made.size(bundle, depth) <= limit or not splits


def test_token_order_does_not_depend_on_the_bytes_order() -> None:
    assert [tokens.tolist() for tokens in ordered([[256], [1], [255, 3]]).tokens] == [[1], [255, 3], [256]]
