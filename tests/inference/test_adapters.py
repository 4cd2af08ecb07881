"""Adapters score as their merged weights would, and change neither the base nor another adapter."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BloomConfig, BloomForCausalLM

from inference.batching.packed import NextToken
from inference.cache.prefix_cache import PrefixCache
from inference.engine import CacheLimits, Engine
from inference.model.language_model import LanguageModel, Source, load, token_arrays
from inference.model.low_rank import Adapter, LowRank, attached
from tests.inference.lora import GPT2_LAYERS, LLAMA_LAYERS, merged, read, save_adapter
from tests.inference.windowed import gemma3
from tests.support.inference.tiny import (
    CONTEXT_TOKENS,
    draw_tokens,
    engine_of,
    gpt2,
    largest_difference,
    llama,
    plain_scores,
    train_tokenizer,
)

SCALE = 1.5  # alpha 6 over rank 4


def bloom() -> nn.Module:
    """Takes no positions, so that there is no prefix cache."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 400, "hidden_size": 64, "n_layer": 1, "n_head": 2, "seq_length": CONTEXT_TOKENS}
    config = BloomConfig.from_dict(sizes)
    return BloomForCausalLM(config)


MODELS: dict[str, tuple[Callable[[], nn.Module], Sequence[str]]] = {
    "llama": (llama, LLAMA_LAYERS),
    "two kinds of layers": (llama, ("q_proj", "down_proj")),
    "the output layer": (llama, ("lm_head",)),
    "gpt-2, whose weights are transposed": (gpt2, GPT2_LAYERS),
    "sliding windows": (gemma3, LLAMA_LAYERS),
    "no prefix cache": (bloom, ("query_key_value", "dense_h_to_4h")),
}


def prompts_behind(trunk: Sequence[int], count: int, seed: int = 0) -> list[list[int]]:
    rng = Random(seed)
    return [[*trunk, *draw_tokens(rng, rng.randint(1, 9))] for _ in range(count)]


PROMPTS = [*prompts_behind(draw_tokens(Random(1), 70), 6), *prompts_behind([5, 6], 3, seed=2)]


def difference(first: Sequence[NextToken], second: Sequence[NextToken]) -> float:
    """The largest difference, in nats."""
    pairs = zip(first, second, strict=True)
    return max(float((one.log_probabilities - other.log_probabilities).abs().max()) for one, other in pairs)


def same_bits(first: Sequence[NextToken], second: Sequence[NextToken]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(one.log_probabilities, other.log_probabilities) for one, other in pairs)


@pytest.fixture
def engine() -> Engine:
    return engine_of(llama())


@pytest.fixture
def two(engine: Engine, tmp_path: Path) -> tuple[Adapter, Adapter]:
    """Adapters whose scores differ from one another's and from their base's."""
    base = engine.language_model
    return (
        read(save_adapter(tmp_path / "one", base.module, seed=1), base),
        read(save_adapter(tmp_path / "two", base.module, seed=2), base),
    )


@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_scores_as_its_merged_weights(name: str, tmp_path: Path) -> None:
    make, targets = MODELS[name]
    engine = engine_of(make())
    folder = save_adapter(tmp_path / "adapter", engine.language_model.module, targets)
    expected = engine_of(merged(engine.language_model.module, folder, SCALE))
    adapter = read(folder, engine.language_model)
    for _ in range(2):  # the second time from the cache
        answers = engine.score(PROMPTS, None, [adapter] * len(PROMPTS))
        assert largest_difference(expected, PROMPTS, answers) < 5e-5
    assert difference(answers, engine.score(PROMPTS)) > 0.05


@pytest.mark.parametrize(
    ("fields", "scales"),
    [
        ({"use_rslora": True}, 3.0),  # 6 / sqrt(4)
        ({"lora_alpha": -1.0}, -0.25),
        ({"rank_pattern": {"1.mlp.down_proj": 8}}, {"1.mlp.down_proj": 0.75, "": 1.5}),
        ({"alpha_pattern": {"q_proj": 2}}, {"q_proj": 0.5, "": 1.5}),
    ],
    ids=str,
)
def test_rank_and_alpha_count_as_peft_has_them(fields: dict[str, Any], scales: Any, tmp_path: Path) -> None:
    engine = engine_of(llama())
    folder = save_adapter(tmp_path / "adapter", engine.language_model.module, **fields)
    answers = engine.score(PROMPTS, None, [read(folder, engine.language_model)] * len(PROMPTS))
    assert largest_difference(engine_of(merged(engine.language_model.module, folder, scales)), PROMPTS, answers) < 5e-5


def test_a_layer_is_changed_however_it_is_called() -> None:
    layer = nn.Sequential(nn.Linear(3, 2))
    low_rank = LowRank(torch.ones(1, 3), torch.ones(2, 1), 2.0)
    states = torch.ones(4, 5, 3)
    with torch.inference_mode(), attached(layer, Adapter("sha", 1, {"0": low_rank})):
        assert torch.equal(layer[0](input=states), layer[0](states))
        changed = layer[0](states)
    assert torch.equal(changed, layer(states) + 6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("mixed", 0.1), ("bfloat16", 0.75)])
def test_in_lower_precision_it_scores_within_what_that_precision_costs(
    dtype: Any, tolerance: float, tiny_folder: Path, tmp_path: Path
) -> None:
    exact, base = load(Source(str(tiny_folder), "cpu")), load(Source(str(tiny_folder), "cpu", dtype))
    folder = save_adapter(tmp_path / "adapter", exact.module)
    expected = LanguageModel(merged(exact.module, folder, SCALE), train_tokenizer(), "merged")
    answers = Engine(base, CacheLimits(4096, 64)).score(PROMPTS, None, [read(folder, base)] * len(PROMPTS))
    for prompt, answer in zip(token_arrays(PROMPTS), answers, strict=True):
        found, wanted = answer.log_probabilities, expected.plain(prompt)
        assert float((found - wanted)[wanted > -7].abs().max()) < tolerance


def test_prompts_of_several_adapters_share_a_batch_and_score_as_alone(
    engine: Engine, two: tuple[Adapter, Adapter]
) -> None:
    order = [None, two[0], two[1], two[0], None, two[1], None, two[0], two[0]]
    together = engine.score(PROMPTS, None, order)
    for number, (prompt, adapter) in enumerate(zip(PROMPTS, order, strict=True)):
        with engine.language_model.adapted(adapter):
            expected = plain_scores(engine, prompt)
        assert float((together[number].log_probabilities - expected).abs().max()) < 5e-5


def test_one_prompt_has_other_scores_with_each_adapter_in_any_order(
    engine: Engine, two: tuple[Adapter, Adapter]
) -> None:
    prompt = PROMPTS[0]
    orders: list[list[Adapter | None]] = [[None, *two], [two[1], None, two[0]], [two[0], two[1], None]]
    for order in orders:
        for adapter, answer in zip(order, engine.score([prompt] * 3, None, order), strict=True):
            with engine.language_model.adapted(adapter):
                assert float((answer.log_probabilities - plain_scores(engine, prompt)).abs().max()) < 5e-5


def test_the_base_scores_the_same_bits_while_adapters_are_in_use(two: tuple[Adapter, Adapter]) -> None:
    alone, shared = engine_of(llama()), engine_of(llama())
    for start in (0, 3, 0):
        prompts = PROMPTS[start : start + 6]
        expected = alone.score(prompts)
        mixed = shared.score([*prompts, *prompts, *prompts], None, [None] * 6 + [two[0]] * 6 + [two[1]] * 6)
        assert same_bits(mixed[:6], expected)
        assert [answer.computed for answer in mixed[:6]] == [answer.computed for answer in expected]


def test_an_adapter_that_fails_leaves_the_base_as_it_was(
    engine: Engine, two: tuple[Adapter, Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engine.language_model, "packed", _fail)
        with pytest.raises(MemoryError):
            engine.score(PROMPTS, None, [two[0]] * len(PROMPTS))
    assert same_bits(engine.score(PROMPTS), engine_of(llama()).score(PROMPTS))


def _fail(*_: object) -> torch.Tensor:
    raise MemoryError


def test_each_adapter_has_a_prefix_cache_of_its_own(engine: Engine, two: tuple[Adapter, Adapter]) -> None:
    prompt = PROMPTS[:1]
    length = len(prompt[0])
    costs = [engine.score(prompt, None, [adapter])[0].computed for adapter in (None, *two, two[0], None)]
    assert costs == [length, length, length, 1, 1]
    assert engine.cached_tokens == 3 * length


def test_a_cache_shared_between_adapters_would_show(
    engine: Engine, two: tuple[Adapter, Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other tests can fail: with one tree for all, scores are off by far more than their tolerance."""
    walk = PrefixCache._walk
    monkeypatch.setattr(PrefixCache, "_walk", lambda cache, tokens, _owner: walk(cache, tokens, ""))
    engine.score(PROMPTS)
    answers = engine.score(PROMPTS, None, [two[0]] * len(PROMPTS))
    with engine.language_model.adapted(two[0]):
        expected = [plain_scores(engine, prompt) for prompt in PROMPTS]
    off = [float((a.log_probabilities - e).abs().max()) for a, e in zip(answers, expected, strict=True)]
    assert max(off) > 0.1


def test_an_unloaded_adapter_frees_its_part_of_the_cache(engine: Engine, two: tuple[Adapter, Adapter]) -> None:
    engine.score(PROMPTS)
    held = engine.cached_tokens
    engine.score(PROMPTS, None, [two[0]] * len(PROMPTS))
    assert engine.cached_tokens == 2 * held
    engine.forget(two[0])
    assert engine.cached_tokens == held
    again = engine.score(PROMPTS, None, [two[0]] * len(PROMPTS))
    assert sum(answer.computed for answer in again) == held
    engine.forget(two[1])
    assert engine.cached_tokens == 2 * held
