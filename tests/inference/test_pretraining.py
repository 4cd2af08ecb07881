"""The loop that pretrains the small model, with a tiny one."""

import re
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from inference.pretraining.documents import MIXTURE, PLAIN
from inference.pretraining.train import Phase, Pretraining, Recipe, build_model, target_weights
from inference.settings import SMALL_MODEL

PHASES = (Phase(6, 3, PLAIN, (1.0, 1.0)), Phase(4, 6, MIXTURE, (1.0, 0.1)))
TEXT, LABEL, PADDING = 9, 1, 0
RECIPE = Recipe(curriculum=PHASES, tokens_per_step=400, hidden=64, layers=1)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(SMALL_MODEL)
    return loaded


def pretrained(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, folder: Path) -> LlamaForCausalLM:
    pretraining = Pretraining(recipe, tokenizer, build_model(recipe, tokenizer))
    pretraining.run(folder)
    return pretraining.language_model


def test_a_run_resumed_after_a_phase_ends_with_the_weights_of_an_uninterrupted_one(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    whole = pretrained(RECIPE, tokenizer, tmp_path / "whole")
    part = tmp_path / "part"
    pretrained(Recipe(curriculum=PHASES[:1], tokens_per_step=400, hidden=64, layers=1), tokenizer, part)
    rest = Pretraining(
        RECIPE, PreTrainedTokenizerFast.from_pretrained(part), LlamaForCausalLM.from_pretrained(part), phases_done=1
    )
    rest.run(part)
    for one, other in zip(whole.parameters(), rest.language_model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.long
def test_the_loss_on_plain_statements_falls(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = Recipe(curriculum=(Phase(100, 3, PLAIN, (1.0, 1.0)),), tokens_per_step=400, hidden=64, layers=1)
    with caplog.at_level("INFO"):
        pretrained(recipe, tokenizer, tmp_path)
    losses = [float(found[1]) for message in caplog.messages if (found := re.search(r"loss ([\d.]+) nats", message))]
    assert losses[-1] < 0.8 * losses[0]


def test_labels_count_alike_text_by_its_weight_and_padding_not_at_all() -> None:
    targets = [torch.tensor([[TEXT] * 200 + [LABEL], [LABEL, *[PADDING] * 200]]), torch.tensor([[TEXT, LABEL]])]
    first, second = weights_of(targets, Phase(1, 1, MIXTURE, (1.0, 1.0), weight_of_text=0.4))
    assert first[0, -1] == first[1, 0] == second[0, 1] == pytest.approx(1 / 3)
    assert not first[1, 1:].any()
    assert float(first[0, :-1].sum() + second[0, 0]) == pytest.approx(0.4)


def test_where_plain_text_alone_counts_the_text_of_labelled_documents_does_not() -> None:
    targets = [torch.tensor([[TEXT, LABEL, TEXT], [TEXT, TEXT, PADDING]])]
    (weights,) = weights_of(targets, Phase(1, 1, MIXTURE, (1.0, 1.0), weight_of_text=0.5, plain_text_only=True))
    assert weights.tolist() == [[0, 1, 0], [0.25, 0.25, 0]]


@pytest.mark.parametrize("plain_text_only", [True, False])
def test_text_without_labels_counts_as_a_whole(plain_text_only: bool) -> None:
    phase = Phase(1, 1, PLAIN, (1.0, 1.0), plain_text_only=plain_text_only)
    (weights,) = weights_of([torch.full((2, 5), TEXT)], phase)
    assert weights.tolist() == [[pytest.approx(0.1)] * 5] * 2


def weights_of(targets: list[torch.Tensor], phase: Phase) -> list[torch.Tensor]:
    return target_weights(targets, phase, labels=torch.tensor([LABEL, 2]), padding=PADDING)
