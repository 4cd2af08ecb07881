"""Scores equal plain unshared computation, and their cost is counted to the token."""

from collections.abc import Callable
from random import Random

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from inference.engine import Engine
from tests.long import LONG
from tests.support.inference.tiny import (
    CONTEXT_TOKENS,
    divide_and_conquer,
    draw_tokens,
    engine_of,
    gpt2,
    largest_difference,
    llama,
    trie_size,
)

MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "llama": llama,
    "grouped-query llama": lambda: llama(key_value_heads=1),
    "gpt2": gpt2,
}
LEAST_CACHE = CONTEXT_TOKENS + 64


@pytest.fixture(params=list(MODELS))
def any_engine(request: pytest.FixtureRequest) -> Engine:
    return engine_of(MODELS[request.param]())


def test_queries_behind_one_prefix_score_as_if_alone(any_engine: Engine) -> None:
    rng = Random(1)
    prefix = draw_tokens(rng, 150)
    prompts = [prefix + draw_tokens(rng, rng.randint(1, 12)) for _ in range(40)]
    assert largest_difference(any_engine, prompts, any_engine.score(prompts)) < 1e-5
    assert any_engine.cache_capacity > 0


def test_a_divide_and_conquer_tree_scores_as_if_unshared(any_engine: Engine) -> None:
    rng = Random(2)
    rows = [draw_tokens(rng, rng.randint(3, 9)) for _ in range(24)]
    prompts = divide_and_conquer(rows, [0])
    answers = any_engine.score(prompts)
    assert largest_difference(any_engine, prompts, answers) < 1e-5
    assert sum(answer.computed for answer in answers) == trie_size(prompts)


def test_prompts_in_any_order_and_many_batches_score_as_if_alone_under_eviction() -> None:
    rng = Random(3)
    engine = engine_of(llama(), cache_tokens=LEAST_CACHE)
    rows = [draw_tokens(rng, 7) for _ in range(30)]
    prompts = divide_and_conquer(rows, [0])
    for _ in range(4 if LONG else 2):
        rng.shuffle(prompts)
        for start in range(0, len(prompts), 7):
            batch = prompts[start : start + 7]
            assert largest_difference(engine, batch, engine.score(batch)) < 1e-5
            assert engine.cached_tokens <= LEAST_CACHE
    assert engine.tokens_computed > trie_size(prompts)


def test_prompts_that_continue_each_other_score_as_if_alone() -> None:
    engine = engine_of(llama())
    run = draw_tokens(Random(4), 200)
    prompts = [run[:end] for end in (200, 1, 64, 65, 128, 199, 3)]
    for _ in range(2):
        assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5


def test_prompts_without_a_common_start_share_a_pass() -> None:
    engine = engine_of(llama())
    rng = Random(5)
    prompts = [draw_tokens(rng, rng.randint(1, 9)) for _ in range(50)]
    assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5


def test_random_batches_score_as_if_alone() -> None:
    rng = Random(6)
    engine = engine_of(llama(), cache_tokens=LEAST_CACHE, pack_tokens=32)
    pool = [draw_tokens(rng, rng.randint(1, 40)) for _ in range(6)]
    for _ in range(40 if LONG else 12):
        prompts = [_joined(rng.choices(pool, k=rng.randint(1, 5))) for _ in range(rng.randint(1, 9))]
        sent, computed = engine.tokens_sent, engine.tokens_computed
        answers = engine.score(prompts)
        assert largest_difference(engine, prompts, answers) < 1e-5
        assert engine.tokens_sent - sent == sum(map(len, prompts))
        assert engine.tokens_computed - computed == sum(answer.computed for answer in answers)


def test_a_prefix_shared_within_a_batch_is_computed_once() -> None:
    engine = engine_of(llama())
    prefix = [5] * 100
    answers = engine.score([[*prefix, 7, 8], [*prefix, 7, 9], [*prefix, 6]])
    assert [answer.computed for answer in answers] == [2, 1, 101]  # the first in token order bears the prefix
    assert (engine.tokens_sent, engine.tokens_computed) == (305, 104)
    assert engine.cached_tokens == 104


def test_what_was_computed_before_is_not_computed_again() -> None:
    engine = engine_of(llama())
    first, again, longer, forked = [*range(2, 102)], [*range(2, 102)], [*range(2, 112)], [*range(2, 52), 300, 301]
    costs = [engine.score([prompt])[0].computed for prompt in (first, again, longer, forked)]
    assert costs == [100, 1, 10, 2]  # the last token is always computed: its scores are not kept


def test_a_prompt_given_twice_in_a_batch_is_computed_once() -> None:
    engine = engine_of(llama())
    answers = engine.score([[3, 4, 5], [3, 4, 5]])
    assert [answer.computed for answer in answers] == [3, 0]
    assert torch.equal(answers[0].log_probabilities, answers[1].log_probabilities)


def test_scores_are_log_probabilities_over_the_whole_vocabulary() -> None:
    (answer,) = engine_of(llama()).score([[0, 5]])
    assert answer.log_probabilities.shape == (400,)
    assert float(answer.log_probabilities.exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [([], "1 to 256 tokens"), ([5] * 257, "this one 257"), ([400], "from 0 to 399"), ([-1], "from 0 to 399")],
)
def test_a_prompt_that_cannot_be_scored_is_refused(prompt: list[int], message: str) -> None:
    engine = engine_of(llama())
    with pytest.raises(ValueError, match=message):
        engine.score([[5], prompt])
    assert engine.tokens_sent == 0


def test_a_prompt_of_the_whole_context_is_scored() -> None:
    engine = engine_of(llama(), cache_tokens=LEAST_CACHE)
    prompts = [draw_tokens(Random(seed), CONTEXT_TOKENS) for seed in range(3)]
    assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5


def test_a_cache_too_small_for_one_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        engine_of(llama(), cache_tokens=LEAST_CACHE - 1)


def test_an_engine_works_after_a_failed_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(llama())
    prompts = [draw_tokens(Random(seed), 90) for seed in range(3)]
    engine.score(prompts[:1])
    with monkeypatch.context() as patch:
        patch.setattr(engine.language_model, "packed", _fail)
        with pytest.raises(MemoryError):
            engine.score(prompts)
    assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5
    assert engine.cached_tokens == 270


def _joined(runs: list[list[int]]) -> list[int]:
    return [token for run in runs for token in run][:CONTEXT_TOKENS]


def _fail(*_: object) -> torch.Tensor:
    raise MemoryError


def test_a_language_model_that_takes_no_positions_is_scored_plainly() -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 400, "hidden_size": 64, "n_layer": 1, "n_head": 2, "seq_length": CONTEXT_TOKENS}
    config = BloomConfig.from_dict(sizes)
    engine = engine_of(BloomForCausalLM(config))
    prompts = [[5, 6, 7], [5, 6, 7], [5, 6, 8]]
    answers = engine.score(prompts)
    assert largest_difference(engine, prompts, answers) < 1e-5
    assert [answer.computed for answer in answers] == [3, 0, 3]
    assert engine.cache_capacity == 0


def test_a_language_model_whose_packed_scores_are_off_is_scored_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.cache.packing._causal", _see_everything)
    engine = engine_of(llama())
    prompts = [draw_tokens(Random(0), 20)]
    assert engine.cache_capacity == 0
    assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5


def _see_everything(length: int) -> object:
    return torch.zeros(length, length).numpy()
