"""Rules of training policies: what the gain is attributed to, early ends, and which policy is kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from inference.settings import SMALL_MODEL
from tests.support.inference.tiny import llama
from training.base import Base
from training.errors import BaseUnusable, Refused
from training.optimisation.policy_trainer import EpochSampler
from training.policy.hacking import Sampled, attribute_gain, warnings, win_rate
from training.policy.rules import best_epoch, ends_early
from training.policy.sampling import Completion, Ending, Sampler, completion_of, ending_of, repetition


def sampled(rewards: Sequence[float], tokens: Sequence[float], repeated: Sequence[float] | None = None) -> Sampled:
    return Sampled(np.array(rewards), np.array(tokens), np.array(repeated or [0.0] * len(rewards)))


def drawn(seed: int, length: int, count: int = 400) -> list[int]:
    rng = Random(seed)
    return [length + rng.randrange(-3, 4) for _ in range(count)]


def test_a_reward_that_is_length_gains_by_length_alone() -> None:
    short, long = drawn(0, 5), drawn(1, 12)
    found = attribute_gain(sampled([2.0 * n for n in short], short), sampled([2.0 * n for n in long], long))
    assert found["gain"] == pytest.approx(14, abs=0.5)
    assert found["length"]["share_of_gain"] == pytest.approx(1.0)
    [warning] = warnings(found, judged=0.9)
    assert warning["code"] == "length"
    assert "100% of the gain in reward goes along with length" in warning["message"]


def test_a_reward_that_ignores_length_gains_without_it_however_long_the_policy_gets() -> None:
    noise = Random(2)
    short, long = drawn(0, 5), drawn(1, 12)
    found = attribute_gain(
        sampled([noise.gauss(0, 1) for _ in short], short), sampled([5 + noise.gauss(0, 1) for _ in long], long)
    )
    assert found["length"]["share_of_gain"] == pytest.approx(0, abs=0.2)
    assert warnings(found, judged=0.9) == []


def test_a_reward_that_is_repetition_is_named_and_length_is_not() -> None:
    rng = Random(3)
    few, many = [rng.random() * 0.2 for _ in range(400)], [0.5 + rng.random() * 0.2 for _ in range(400)]
    lengths = drawn(4, 8)
    found = attribute_gain(sampled(few, lengths, few), sampled(many, lengths, many))
    assert found["repetition"]["share_of_gain"] == pytest.approx(1.0)
    assert [warning["code"] for warning in warnings(found, judged=0.9)] == ["repetition"]


def test_without_gain_or_variance_there_is_no_share() -> None:
    same = attribute_gain(sampled([1.0, 2.0], [4, 4]), sampled([2.0, 3.0], [4, 4]))
    assert (same["length"]["share_of_gain"], same["both"]) == (None, None)
    lost = attribute_gain(sampled([1.0, 2.0], [4, 5]), sampled([0.0, 1.0], [6, 7]))
    assert lost["length"]["share_of_gain"] is None
    assert [warning["code"] for warning in warnings(lost, judged=0.9)] == ["no_gain"]


def test_a_gain_within_two_standard_errors_gets_a_warning() -> None:
    found = attribute_gain(sampled([1.0, 2.0], [4, 4]), sampled([2.0, 3.0], [4, 4]))
    assert [warning["code"] for warning in warnings(found, judged=0.9, standard_error=0.6)] == ["no_gain"]
    assert warnings(found, judged=0.9, standard_error=0.4) == []


def test_a_judge_that_disagrees_and_a_missing_judge_get_warnings() -> None:
    found = attribute_gain(sampled([1.0, 2.0], [4, 4]), sampled([2.0, 3.0], [4, 4]))
    assert [warning["code"] for warning in warnings(found, judged=0.4)] == ["judge_disagrees"]
    assert [warning["code"] for warning in warnings(found, judged=None)] == ["no_judge"]


def test_a_tie_is_half_a_win() -> None:
    assert win_rate(np.array([1.0, 1.0, 1.0, 2.0]), np.array([2.0, 1.0, 1.0, 1.0])) == 0.5


def test_repetition_counts_pairs_of_tokens_that_occurred_before() -> None:
    assert repetition([1, 2, 3, 4]) == 0
    assert repetition([1, 2, 1, 2, 1]) == 0.5
    assert repetition([7]) == 0
    assert repetition([7] * 9) == pytest.approx(7 / 8)


def step(kl_nats: float) -> dict[str, Any]:
    return {"loss": 0.0, "kl_nats": kl_nats}


def measured(epoch: int, reward: float, kl_nats: float = 0.0, error: float = 0.1) -> dict[str, Any]:
    held_out = {"reward": reward, "reward_standard_error": error, "kl_nats": kl_nats}
    return {"epoch": float(epoch), "evaluation": {"held_out": held_out}}


def test_kl_over_its_limit_in_the_mean_of_five_steps_ends_the_training() -> None:
    assert ends_early([step(9.0)] * 4, kl_limit=2.0) is None
    assert ends_early([step(0.0)] * 4 + [step(9.0)], kl_limit=2.0) is None
    assert "1.80 nats" not in (ends_early([step(0.0)] * 4 + [step(9.0)], kl_limit=2.0) or "")
    assert "over kl_limit 2" in (ends_early([step(3.0)] * 5, kl_limit=2.0) or "")


def test_kl_over_its_limit_on_held_out_prompts_ends_the_training() -> None:
    assert "3.00 nats" in (ends_early([measured(1, 1.0, kl_nats=3.0)], kl_limit=2.0) or "")


def test_a_fall_of_the_held_out_reward_ends_the_training_and_noise_does_not() -> None:
    assert ends_early([measured(1, 1.0), measured(2, 0.8)], kl_limit=2.0) is None
    assert "fell from 1.000 to 0.500" in (ends_early([measured(1, 1.0), measured(2, 0.5)], kl_limit=2.0) or "")


def test_the_policy_with_the_highest_reward_within_the_limit_is_kept() -> None:
    log = [measured(1, 1.0), measured(2, 3.0, kl_nats=9.0), measured(3, 2.0), measured(4, 1.5)]
    assert best_epoch(log, kl_limit=2.0) == 3
    assert best_epoch([measured(1, 1.0, kl_nats=9.0)], kl_limit=2.0) is None


def order(epoch: int, seed: int = 0) -> list[int]:
    sampler = EpochSampler(7, 2, 3, parts=2, seed=seed)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def test_the_order_of_prompts_depends_on_seed_and_epoch_alone() -> None:
    assert order(1) == order(1)
    assert order(0) != order(1)
    assert order(0) != order(0, seed=1)


def test_each_prompt_of_a_step_repeats_once_per_completion_and_again_for_each_part() -> None:
    found = order(0)
    assert len(found) == 3 * 2 * 3 * 2  # three whole steps of two prompts
    first = found[:6]
    assert first == [first[0]] * 3 + [first[3]] * 3
    assert found[6:12] == first


BASE = Base("small_model", SMALL_MODEL, "")
TOKENIZER = AutoTokenizer.from_pretrained(SMALL_MODEL)


def test_a_completion_ends_with_the_first_token_that_ends_it_which_is_no_part_of_its_text() -> None:
    ending = ending_of(BASE, TOKENIZER, "\n", 8)
    ids = TOKENIZER(" 24\n 5\n", add_special_tokens=False)["input_ids"]
    generated = completion_of(TOKENIZER, ids, ending)
    assert generated.text == " 24"
    assert list(generated.ids) == ids[: ids.index(ending.ends[-1]) + 1]
    assert completion_of(TOKENIZER, ids[:1], ending).text == " 24"


def test_a_stop_of_several_tokens_is_refused() -> None:
    with pytest.raises(Refused, match=r"policy.stop: 'is larger than' is \d tokens"):
        ending_of(BASE, TOKENIZER, "is larger than", 8)


def test_a_base_without_an_end_of_text_is_refused() -> None:
    without = AutoTokenizer.from_pretrained(SMALL_MODEL)
    without.eos_token = None
    with pytest.raises(BaseUnusable, match="has no end of text"):
        ending_of(BASE, without, None, 8)


@pytest.mark.parametrize(("declared", "ends"), [([1, 7], (1, 7)), (9, (1, 9)), (None, (1,))])
def test_end_tokens_of_the_bases_configuration_end_a_completion(
    declared: Any, ends: tuple[int, ...], tmp_path: Path
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": declared}))
    assert ending_of(Base("base", tmp_path, ""), TOKENIZER, None, 8).ends == ends


def sampler() -> Sampler:
    return Sampler(TOKENIZER, Ending(5, (), 0), 3, 2, lambda: None)


def test_draws_depend_on_their_seed_and_leave_torchs_generator_alone() -> None:
    module = llama()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = sampler().draw(module, [(5, 6, 7), (8,), (9, 10)])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert sampler().draw(module, [(5, 6, 7), (8,), (9, 10)]) == first
    assert [len(one.ids) for one in first] == [5, 5, 5]


def test_the_nats_of_a_completion_are_those_of_its_tokens_one_by_one() -> None:
    module: Any = llama()
    module.eval()
    prompts, completions = [(5, 6, 7), (8,)], [Completion("", (9, 10)), Completion("", (11, 12, 13))]
    expected = []
    for prompt, completion in zip(prompts, completions, strict=True):
        total, read = 0.0, list(prompt)
        for token in completion.ids:
            with torch.inference_mode():
                total += float(module(torch.tensor([read])).logits[0, -1].log_softmax(-1)[token])
            read.append(token)
        expected.append(total)
    assert sampler().nats(module, prompts, completions) == pytest.approx(expected, abs=1e-4)
