from tests.servers.prefix_caches import PrefixCache, SlotCache


def test_whole_blocks_are_found_and_the_last_token_never() -> None:
    cache = PrefixCache(block_tokens=16)
    cache.insert(range(65))
    assert [cache.cached(range(length)) for length in (15, 16, 17, 64, 65, 200)] == [0, 0, 16, 48, 64, 64]


def test_single_tokens_are_found_if_the_block_is_one_token() -> None:
    cache = PrefixCache()
    cache.insert([1, 2, 3])
    assert cache.cached([1, 2, 3]) == 2
    assert cache.cached([1, 2, 9, 9]) == 2
    assert cache.cached([9, 2, 3]) == 0


def test_a_salt_keeps_prompts_apart() -> None:
    cache = PrefixCache()
    cache.insert([1, 2, 3], salt="a")
    assert (cache.cached([1, 2, 3], salt="a"), cache.cached([1, 2, 3], salt="b"), cache.cached([1, 2, 3])) == (2, 0, 0)


def test_a_slot_keeps_the_prompt_it_read_last() -> None:
    cache = SlotCache(slots=1)
    for ids, expected in (([1, 2, 3, 4], 0), ([1, 2, 3, 5], 3), ([1, 2], 1), ([1, 2, 3, 5], 2)):
        slot, cached = cache.take(ids)
        cache.give_back(slot)
        assert cached == expected


def test_the_most_similar_free_slot_is_taken_and_else_the_oldest() -> None:
    cache = SlotCache(slots=2)
    (first, _), (second, _) = cache.take([1, 2, 3]), cache.take([7, 8, 9])
    cache.give_back(first)
    cache.give_back(second)
    assert cache.take([7, 8, 1]) == (second, 2)
    assert cache.take([5, 5, 5]) == (first, 0)


def test_a_busy_slot_is_of_no_use() -> None:
    cache = SlotCache(slots=2)
    cache.take([1, 2, 3])
    assert cache.take([1, 2, 3]) == (1, 0)
