"""The loss counts the tokens of labels and nothing else; scores do not depend on what shares a batch."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.inference.tiny import gpt2, llama
from training.data.collation import Forward, LabelCollator, Target, forward_of, nats_of_labels
from training.data.tokenization import TokenisedPrompt
from training.errors import Refused
from training.kinds.controls import control_labels
from training.kinds.evaluation import calibrated, label_scores, quality
from training.kinds.label_training import mean_one
from training.optimisation.trainer import LabelTrainer
from training.reporting import polarity
from training.spec import Control, Weights

TARGETS = [Target((5, 6, 7, 8), (9,), 1.0), Target((5, 6), (10, 11, 12), 1.0)]


def batch_of(module: Any, targets: list[Target]) -> dict[str, Any]:
    return LabelCollator(forward_of(module))([{"target": target} for target in targets])


def nats(module: Any, targets: list[Target]) -> list[float]:
    batch = batch_of(module, targets)
    learned, _ = batch.pop("targets"), batch.pop("weights")
    with torch.inference_mode():
        values: list[float] = nats_of_labels(module.eval()(**batch).logits, learned).tolist()
    return values


def plain_nats(module: Any, target: Target) -> float:
    """By a forward pass over each beginning alone."""
    total, read = 0.0, list(target.prompt)
    for token in target.label:
        with torch.inference_mode():
            total -= float(module.eval()(torch.tensor([read])).logits[0, -1].log_softmax(-1)[token])
        read.append(token)
    return total


@pytest.mark.parametrize("make", [llama, gpt2])
def test_the_loss_is_what_the_language_model_pays_for_the_label(make: Any) -> None:
    module = make()
    assert nats(module, TARGETS) == pytest.approx([plain_nats(module, target) for target in TARGETS], abs=1e-4)


@pytest.mark.parametrize("make", [llama, gpt2])
def test_only_the_labels_tokens_carry_loss(make: Any) -> None:
    """Whatever the logits are elsewhere, no gradient comes from there; a label's last token is not even read."""
    module = make()
    batch = batch_of(module, TARGETS)
    learned = batch["targets"]
    assert learned.tolist() == [[-100, -100, 9], [10, 11, 12]]
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [5, 6, 10, 11]]
    logits = torch.randn(2, 4, 400, requires_grad=True)
    [gradient] = torch.autograd.grad(nats_of_labels(logits, learned).sum(), [logits])
    assert (gradient.abs().sum(-1) > 0).tolist() == [[False, False, False, True], [False, True, True, True]]


def test_other_rows_of_a_batch_change_nothing() -> None:
    module = llama()
    assert nats(module, TARGETS) == pytest.approx([nats(module, [target])[0] for target in TARGETS], abs=1e-4)


def test_a_language_model_that_takes_neither_positions_nor_a_count_of_logits_is_given_neither() -> None:
    batch = Forward(takes_positions=False, takes_kept=False).batch([(1, 2), (3,)], 1)
    assert batch.keys() == {"input_ids", "attention_mask"}
    assert batch["attention_mask"].tolist() == [[1, 1], [0, 1]]


def test_the_loss_of_a_step_is_the_weighted_mean_over_its_rows() -> None:
    module = llama()
    alone = nats(module, TARGETS)
    weighted = [replace(TARGETS[0], weight=1.5), replace(TARGETS[1], weight=0.5)]
    with torch.inference_mode():
        loss = LabelTrainer.compute_loss(LabelTrainer.__new__(LabelTrainer), module, batch_of(module, weighted))
    assert float(loss) == pytest.approx((1.5 * alone[0] + 0.5 * alone[1]) / 2, abs=1e-4)


def test_weights_are_one_in_the_mean() -> None:
    assert mean_one([0.5, 0.0, 1.0], Weights.CONFIDENCE) == [1.0, 0.0, 2.0]
    assert mean_one([0.5, 0.0], Weights.NONE) == [1.0, 1.0]
    with pytest.raises(Refused, match="has weight 0"):
        mean_one([0.0, 0.0], Weights.CONFIDENCE)


def test_scores_read_each_label_by_the_chain_rule_in_as_few_passes_as_will_do() -> None:
    module = llama()
    labels = ((9,), (9, 11), (10, 11, 12), (10, 11, 13), (14,))
    prompts = [TokenisedPrompt((5, 6, 7), labels), TokenisedPrompt((8,), labels)]
    passes = []
    hook = module.register_forward_pre_hook(
        lambda _module, _args, given: passes.append(len(given["input_ids"])), with_kwargs=True
    )
    scores = label_scores(module, prompts, lambda: None, 3)
    hook.remove()
    assert passes == [3, 1]  # of each prompt: behind 10 11, and behind 9
    expected = [[-plain_nats(module, Target(prompt.ids, label, 1.0)) for label in labels] for prompt in prompts]
    assert scores == pytest.approx(np.array(expected), abs=1e-4)


def test_a_label_has_the_probability_of_all_its_spellings() -> None:
    module = llama()
    prompt = TokenisedPrompt((5, 6, 7), ((9,), (10,)), (((11,), (12, 13)), ()))
    [[first, second]] = label_scores(module, [prompt], lambda: None, 3)
    alone = {ids: -plain_nats(module, Target(prompt.ids, ids, 1.0)) for _, ids in prompt.paths}
    assert first == pytest.approx(np.log(np.exp([alone[9,], alone[11,], alone[12, 13]]).sum()), abs=1e-4)
    assert second == pytest.approx(alone[10,], abs=1e-4)


def test_quality_counts_agreement_and_gold_apart() -> None:
    scores = np.log(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]))
    found = quality(scores, [0, 1, 1], [0, 0, 0])
    assert found["agreement"] == pytest.approx(2 / 3)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["nats"] == pytest.approx(-np.log([0.9, 0.4, 0.8]).mean())
    assert quality(scores, [0, 1, 1], [0, None, 0])["accuracy"] is None
    assert quality(scores[:0], [], []) == {"rows": 0, "agreement": None, "nats": None, "accuracy": None}


def test_calibrated_scores_predict_every_label_alike_in_the_mean() -> None:
    scores = np.log(np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.95, 0.05]]))
    even = calibrated(scores)
    assert np.exp(even).mean(axis=0) == pytest.approx([0.5, 0.5], abs=1e-5)
    assert even.argmax(axis=1).tolist() == [0, 1, 1, 0]


def test_shuffled_labels_are_the_same_ones_dealt_out_anew() -> None:
    found = [0, 0, 0, 1, 1, 2] * 5
    dealt = control_labels(Control.SHUFFLED, found, [], 3, seed=0)
    assert sorted(dealt) == sorted(found)
    assert dealt != found
    assert dealt != control_labels(Control.SHUFFLED, found, [], 3, seed=1)


def test_inverted_labels_are_all_wrong() -> None:
    assert control_labels(Control.INVERTED, [0, 1, 2], [], 3, seed=0) == [1, 2, 0]
    assert control_labels(Control.INVERTED, [0, 1], [], 2, seed=0) == [1, 0]


def test_noise_is_exactly_as_wrong_as_the_found_labels() -> None:
    gold, found = [0, 1, 2, 0, 1, 2, 0, 1], [0, 1, 2, 0, 2, 0, 1, 1]
    noisy = control_labels(Control.NOISE, found, gold, 3, seed=0)
    assert sum(one != other for one, other in zip(noisy, gold, strict=True)) == 3
    assert noisy != found
    assert control_labels(Control.GOLD, found, gold, 3, seed=0) == gold


def test_labels_with_a_lower_loss_in_the_first_epoch_count_as_learned_faster() -> None:
    slow, fast = {"first_epoch_nats": 0.9}, {"first_epoch_nats": 0.2}
    assert polarity(fast, slow)["faster"] == "found"
    assert polarity(slow, fast)["faster"] == "inverted"
