from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inference.engine import CacheLimits, packed_scorer
from inference.model.language_model import LanguageModel, Source, load, token_arrays
from inference.model.mixed import BFloat16Linear
from inference.settings import SMALL_MODEL, read_settings

TOLERANCE_NATS = 0.1  # of the small model; docs/servers/embedded.md says how far others move


@pytest.fixture(scope="module")
def exact() -> LanguageModel:
    return load(Source(str(SMALL_MODEL), "cpu"))


@pytest.fixture(scope="module")
def mixed() -> LanguageModel:
    return load(Source(str(SMALL_MODEL), "cpu", "mixed"))


def test_every_linear_layer_but_the_last_multiplies_in_bfloat16(mixed: LanguageModel) -> None:
    head = mixed.module.get_output_embeddings()
    left = [part for part in mixed.module.modules() if type(part) is nn.Linear]
    assert left == [head]
    assert sum(isinstance(part, BFloat16Linear) for part in mixed.module.modules()) >= 4 * mixed.layers
    assert {parameter.dtype for parameter in head.parameters()} == {torch.float32}
    assert (mixed.precision, mixed.dtype) == ("mixed", torch.float32)


def test_scores_differ_by_less_than_the_stated_tolerance(exact: LanguageModel, mixed: LanguageModel) -> None:
    texts = ["Is it so? 3 is larger than 7\nI think this claim is", "True\n\n" * 20, "a"]
    for prompt in token_arrays([exact.tokenizer.encode(text) for text in texts]):
        expected, found = exact.plain(prompt), mixed.plain(prompt)
        likely = expected > np.log(0.001)
        assert not torch.equal(found, expected)
        assert float((found - expected)[likely].abs().max()) < TOLERANCE_NATS


def test_mixed_precision_keeps_the_prefix_cache(mixed: LanguageModel) -> None:
    assert packed_scorer(mixed, CacheLimits()) is not None


def test_layers_with_a_bias_keep_it() -> None:
    linear = nn.Linear(3, 2)
    states = torch.ones(1, 3)
    assert torch.allclose(BFloat16Linear(linear)(states), linear(states), atol=0.05)
    assert BFloat16Linear(linear)(states).dtype == torch.float32


def test_mixed_precision_is_chosen_by_name(tmp_path: Path) -> None:
    assert read_settings(["--model", str(tmp_path), "--dtype", "mixed"]).dtype == "mixed"
    assert load(Source(str(SMALL_MODEL), "cpu")).precision == "float32"
