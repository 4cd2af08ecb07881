"""Language models with sliding windows score through the prefix cache as they do without it."""

import logging
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.cache.packing import Branch, Pack, pack_branches, pack_run
from inference.engine import Engine
from tests.inference.windowed import REFUSED, WINDOWED, gemma3, mistral
from tests.long import LONG
from tests.support.inference.tiny import (
    CONTEXT_TOKENS,
    draw_tokens,
    engine_of,
    largest_difference,
    llama,
    trie_size,
)

LEAST_CACHE = CONTEXT_TOKENS + 32


@pytest.fixture(scope="module", params=list(WINDOWED))
def engine(request: pytest.FixtureRequest) -> Engine:
    return engine_of(WINDOWED[request.param](), cache_tokens=LEAST_CACHE, pack_tokens=32)


def test_prompts_longer_than_the_window_score_as_if_alone(engine: Engine) -> None:
    rng = Random(1)
    prefix = draw_tokens(rng, 150)
    prompts = [prefix + draw_tokens(rng, rng.randint(1, 30)) for _ in range(12)]
    answers = engine.score(prompts)
    assert largest_difference(engine, prompts, answers) < 1e-5
    assert sum(answer.computed for answer in answers) == trie_size(prompts)


@settings(max_examples=15 if LONG else 4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_batches_score_as_if_alone_under_eviction(engine: Engine, seed: int) -> None:
    rng = Random(seed)
    pool = [draw_tokens(rng, rng.randint(1, 40)) for _ in range(4)]
    for _ in range(2):
        runs = [rng.choices(pool, k=rng.randint(1, 5)) for _ in range(rng.randint(1, 6))]
        prompts = [[token for run in chosen for token in run][:CONTEXT_TOKENS] for chosen in runs]
        assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5


def test_what_lies_behind_every_window_changes_nothing_where_all_layers_have_one() -> None:
    """That there is a window at all: three layers that look back 11 tokens each reach 33 tokens back."""
    engine = engine_of(mistral())
    tail = draw_tokens(Random(3), 34)
    first, second = engine.score([[5, *tail], [6, *tail]])
    assert float((first.log_probabilities - second.log_probabilities).abs().max()) == 0
    third, fourth = engine.score([[5, *tail[-33:]], [6, *tail[-33:]]])
    assert float((third.log_probabilities - fourth.log_probabilities).abs().max()) > 0


@pytest.mark.parametrize("kind", list(REFUSED))
def test_layers_that_masks_cannot_serve_are_named_and_scored_plainly(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, reason = REFUSED[kind]
    with caplog.at_level(logging.WARNING):
        engine = engine_of(make())
    assert engine.cache_capacity == 0
    assert f"tiny runs without a prefix cache: {reason}" in caplog.text
    prompts = [draw_tokens(Random(0), 40)]
    assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5


@pytest.mark.parametrize("make", [gemma3, lambda: gemma3(100), mistral], ids=["mixed", "wide", "everywhere"])
def test_a_window_that_packed_passes_ignore_is_noticed(
    make: Callable[[], torch.nn.Module], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("inference.cache.packing.Pack.mask_within", lambda pack, window: pack.mask)
    with caplog.at_level(logging.WARNING):
        engine = engine_of(make())
    assert engine.cache_capacity == 0
    assert "nats off" in caplog.text


def test_a_window_off_by_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Pack.mask_within
    monkeypatch.setattr("inference.cache.packing.Pack.mask_within", lambda pack, window: exact(pack, window + 1))
    assert engine_of(gemma3()).cache_capacity == 0


def test_a_window_that_the_language_model_itself_ignores_is_noticed() -> None:
    module = llama()
    module.config.sliding_window = 8
    assert engine_of(module).cache_capacity == 0


def test_the_window_is_the_models_own_again_after_the_self_test() -> None:
    language_model = engine_of(gemma3(100)).language_model
    assert language_model.attention.window == 100
    assert language_model.module.config.sliding_window == 100
    kept = [vars(part).get("sliding_window") for part in language_model.module.modules()]
    assert {window for window in kept if window is not None} == {100}


def test_a_window_as_long_as_the_context_hides_nothing() -> None:
    engine = engine_of(mistral(CONTEXT_TOKENS))
    assert engine.language_model.attention.window is None
    assert engine.cache_capacity > 0
    prompts = [draw_tokens(Random(seed), CONTEXT_TOKENS) for seed in range(2)]
    assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5


def test_a_window_one_short_of_the_context_hides_the_first_token() -> None:
    engine = engine_of(mistral(CONTEXT_TOKENS - 1))
    prompts = [draw_tokens(Random(seed), CONTEXT_TOKENS) for seed in range(2)]
    assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5


def test_a_second_mask_is_made_only_where_a_window_parts_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(gemma3(50))
    monkeypatch.setattr("inference.cache.packing.Pack.mask_within", _fail)
    prompts = [draw_tokens(Random(0), 50)]
    assert largest_difference(engine, prompts, engine.score(prompts)) < 1e-5
    with pytest.raises(AssertionError, match="a second mask"):
        engine.score([draw_tokens(Random(1), 51)])


def test_a_pack_has_the_position_of_every_token_seen() -> None:
    """Behind a path of 3 tokens: one branch with 2 cached and 1 new token, and one that forks off at its first."""
    tokens = np.arange(6, dtype=np.int32)
    slots = np.arange(3, dtype=np.int64)
    branches = [
        Branch(tokens, range(3, 5), range(5, 6), slots[:2], slots[:1]),
        Branch(tokens, range(4, 4), range(4, 6), slots[:0], slots[:2]),
    ]
    pack = pack_branches(branches, slots)
    assert pack.seen_positions.tolist() == [0, 1, 2, 3, 4, 5, 4, 5]
    assert pack.positions.tolist() == [5, 4, 5]
    seen = np.isfinite(pack.mask_within(3)).astype(int).tolist()
    assert seen == [[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 1, 1]]
    assert pack.reaches_beyond(5)
    assert not pack.reaches_beyond(6)
    run = pack_run(tokens[:2], slots, slots[:2], answered=True)
    assert run.seen_positions.tolist() == [0, 1, 2, 3, 4]


def _fail(*_: object) -> object:
    raise AssertionError("a second mask")
