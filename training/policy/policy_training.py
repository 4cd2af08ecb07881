"""Trains a policy against a reward model: prepares prompts, trains, measures, and chooses the epoch to publish."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedTokenizerBase
from trl.trainer.rloo_config import RLOOConfig

from training.artifacts import artifact_folder
from training.base import context_tokens, load_tokenizer
from training.data.holdout import Split, split
from training.data.prompts import PromptRow, digest_of, read_prompts
from training.data.tokenization import Ids, RowTokenizer
from training.errors import Refused, TrainingError
from training.kinds.evaluation import ROWS_AT_ONCE
from training.kinds.preference import Floats
from training.optimisation.adapters import lora_config, save_adapter
from training.optimisation.bench import Bench
from training.optimisation.files import publish_folder
from training.optimisation.policy_trainer import FIGURES, PolicyTrainer
from training.optimisation.stage import Stage
from training.optimisation.watcher import Extras, Log
from training.policy.hacking import Sampled, attribute_gain, warnings, win_rate
from training.policy.reward_models import FinishedRewardModel, LoadedRewardModel, RewardReader
from training.policy.rules import best_epoch, ends_early
from training.policy.sampling import Completion, Ending, Sampler, completion_of, ending_of, repetition
from training.spec import Control, PolicySettings

_SAMPLES = 5  # completions of base and policy that the report shows


@dataclass(frozen=True, slots=True)
class PolicyTraining:
    """A run's training of a policy: its prompts as tokens, the held-out ones, and its reward models."""

    bench: Bench
    settings: PolicySettings
    rows: Sequence[PromptRow]
    tokens: Sequence[Ids]
    parts: Split
    tokenizer: PreTrainedTokenizerBase
    ending: Ending
    reward: LoadedRewardModel
    judge: LoadedRewardModel | None
    judged_by: Mapping[str, str | None]

    def facts(self) -> dict[str, Any]:
        """Numbers of prompts and tokens, and the hashes of the reward models."""
        return {
            "digest": digest_of(self.rows),
            "trained": len(self.parts.trained),
            "held_out": len(self.parts.held_out),
            "tokens": sum(len(self.tokens[row]) for row in self.parts.trained),
            **self.judged_by,
        }

    def before(self) -> dict[str, Any]:
        """Rewards, lengths and repetition of the base's completions of held-out prompts."""
        return {"held_out": self._measure(self.bench.module())}

    def stage(self) -> Stage:
        """The training. The run publishes the best policy measured within the KL limit."""
        extras = Extras(
            figures=FIGURES,
            keep=self._keep,
            ends_early=partial(ends_early, kl_limit=self.settings.kl_limit),
            chosen=self._choose,
            after=self._compare_with_base,
        )
        return Stage("training", self._trainer, self._evaluate, self.bench.spec.epochs, extras)

    def control(self, control: Control) -> Stage:
        """Refuse: kind `policy` has no controls. Raises Refused."""
        raise Refused(f"controls: {control} is not for kind policy")

    def scores(self, module: Any) -> None:
        """A policy predicts no labels; the specification refuses rows to score."""
        del module

    def _evaluate(self, module: Any) -> dict[str, Any]:
        return {"held_out": self._measure(module)}

    def _measure(self, module: Any) -> dict[str, Any]:
        """Draw completions of the held-out prompts, and measure rewards, lengths, repetition and KL divergence."""
        drawn = self._draw(module)
        rewards = self.reward.rewards(self._texts(drawn))
        measured = {
            "rows": len(drawn),
            "reward": float(rewards.mean()),
            "reward_standard_error": float(rewards.std() / math.sqrt(len(rewards))),
            "completion_tokens": float(_lengths(drawn).mean()),
            "repetition": float(_repetition(drawn).mean()),
        }
        return measured | ({"kl_nats": self._kl(module, drawn)} if hasattr(module, "disable_adapter") else {})

    def _kl(self, module: Any, drawn: Sequence[Completion]) -> float:
        """The KL divergence in nats, estimated as the mean over completions of log p(policy) - log p(base)."""
        sampler, prompts = self._sampler(), self._held_out()
        policy = sampler.nats(module, prompts, drawn)
        with module.disable_adapter():
            base = sampler.nats(module, prompts, drawn)
        return float(np.mean(np.array(policy) - np.array(base)))

    def _keep(self, module: Any, epoch: int) -> None:
        """Save the adapter at the end of an epoch; the run publishes one of these."""
        if not self.bench.is_first:
            return
        folder = self._adapter_folder(epoch)
        staged = folder.with_name(f".{folder.name}")
        staged.mkdir(parents=True, exist_ok=True)
        save_adapter(module, staged, self.bench.base)
        publish_folder(staged, folder)

    def _adapter_folder(self, epoch: int) -> Path:
        return self.bench.folder / "checkpoints" / "kept" / f"epoch-{epoch:04}"

    def _choose(self, log: Log) -> Path:
        epoch = best_epoch(log, self.settings.kl_limit)
        if epoch is None:
            raise TrainingError(
                "no policy was measured within policy.kl_limit: take a lower learning_rate, a higher policy.kl_weight "
                "or kl_limit, or fewer prompts and more epochs, in another folder"
            )
        return self._adapter_folder(epoch)

    def _compare_with_base(self) -> dict[str, Any]:
        """Compare the published policy with the base on the same held-out prompts, by both reward models."""
        module = self.bench.module()
        completions = {"base": self._draw(module)}
        module = PeftModel.from_pretrained(module, artifact_folder(self.bench)).eval()
        completions["policy"] = self._draw(module)
        rewards = {name: self.reward.rewards(self._texts(drawn)) for name, drawn in completions.items()}
        found = attribute_gain(*(self._sampled(rewards[name], drawn) for name, drawn in completions.items()))
        judged, reward = self._judge(completions), _change(rewards)
        return {
            "rows": len(self.parts.held_out),
            "reward": reward,
            "win_rate_by_reward": win_rate(rewards["base"], rewards["policy"]),
            **judged,
            "kl_nats": self._kl(module, completions["policy"]),
            "goes_with": found,
            "warnings": warnings(found, judged["win_rate"], reward["gain_standard_error"]),
            "samples": self._samples(completions, rewards),
        }

    def _judge(self, completions: Mapping[str, Sequence[Completion]]) -> dict[str, Any]:
        if self.judge is None:
            return {"judge": None, "win_rate": None}
        rewards = {name: self.judge.rewards(self._texts(drawn)) for name, drawn in completions.items()}
        return {"judge": _change(rewards), "win_rate": win_rate(rewards["base"], rewards["policy"])}

    def _sampled(self, rewards: Floats, drawn: Sequence[Completion]) -> Sampled:
        return Sampled(rewards, _lengths(drawn), _repetition(drawn))

    def _samples(
        self, completions: Mapping[str, Sequence[Completion]], rewards: Mapping[str, Floats]
    ) -> list[dict[str, Any]]:
        return [
            {
                "prompt": self.rows[row].prompt,
                **{
                    name: {"text": drawn[index].text, "reward": float(rewards[name][index])}
                    for name, drawn in completions.items()
                },
            }
            for index, row in enumerate(self.parts.held_out[:_SAMPLES])
        ]

    def _held_out(self) -> list[Ids]:
        return [self.tokens[row] for row in self.parts.held_out]

    def _texts(self, drawn: Sequence[Completion]) -> list[str]:
        return [self.rows[row].prompt + one.text for row, one in zip(self.parts.held_out, drawn, strict=True)]

    def _draw(self, module: Any) -> list[Completion]:
        """A completion of each held-out prompt; repeated calls with the same language model draw the same ones."""
        return self._sampler().draw(module, self._held_out())

    def _sampler(self) -> Sampler:
        at_once = self.bench.spec.rows_at_once or ROWS_AT_ONCE
        return Sampler(self.tokenizer, self.ending, self.bench.spec.seed, at_once, self.bench.stop.check)

    def _trainer(self) -> PolicyTrainer:
        module = self.bench.module()
        module.generation_config.eos_token_id = list(self.ending.ends)
        trained = [self.rows[row].prompt for row in self.parts.trained]
        trainer = PolicyTrainer(
            model=module,
            reward_funcs=self._reward_function(),
            args=self._arguments(),
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in trained]),
            processing_class=self.tokenizer,
            peft_config=lora_config(self.bench.spec),
        )
        trainer.prompt_tokens = {self.rows[row].prompt: self.tokens[row] for row in self.parts.trained}
        return trainer

    def _arguments(self) -> RLOOConfig:
        """A step reads `batch_rows` prompts and draws several completions of each."""
        settings = self.settings
        plain = self.bench.arguments("training", RLOOConfig)
        return self.bench.arguments(
            "training",
            RLOOConfig,
            per_device_train_batch_size=plain.per_device_train_batch_size * settings.completions,
            num_generations=settings.completions,
            max_completion_length=settings.completion_tokens,
            beta=settings.kl_weight,
            temperature=1.0,
            disable_dropout=True,
            gradient_checkpointing=False,
            include_num_input_tokens_seen="no",
        )

    def _reward_function(self) -> Callable[..., list[float | None]]:
        def reward(
            prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], log_metric: Any, **_: Any
        ) -> list[float | None]:
            """The signature that TRL calls."""
            drawn = [completion_of(self.tokenizer, ids, self.ending) for ids in completion_ids]
            log_metric("repetition", float(_repetition(drawn).mean()))
            texts = [prompt + one.text for prompt, one in zip(prompts, drawn, strict=True)]
            given: list[float | None] = self.reward.rewards(texts).tolist()
            return given

        return reward


def _change(rewards: Mapping[str, Floats]) -> dict[str, float]:
    before, after = rewards["base"], rewards["policy"]
    error = float((after - before).std() / math.sqrt(len(before)))
    return {
        "before": float(before.mean()),
        "after": float(after.mean()),
        "gain": float((after - before).mean()),
        "gain_standard_error": error,
    }


def _lengths(drawn: Sequence[Completion]) -> Floats:
    return np.array([len(one.ids) for one in drawn], dtype=np.float64)


def _repetition(drawn: Sequence[Completion]) -> Floats:
    return np.array([repetition(one.ids) for one in drawn], dtype=np.float64)


def prepare(bench: Bench, file: Path, models: Mapping[str, FinishedRewardModel]) -> PolicyTraining:
    """Check and tokenise every prompt and load the reward models before the training begins.

    Raises Refused and BaseUnusable.
    """
    spec, settings = bench.spec, bench.spec.policy
    if settings is None:
        raise Refused("policy: is missing; it names the reward model")
    rows = read_prompts(file)
    tokenizer = load_tokenizer(bench.base)
    ending = ending_of(bench.base, tokenizer, settings.stop, settings.completion_tokens)
    tokens = _tokens(bench, rows, tokenizer, settings.completion_tokens)
    readers = {field: RewardReader.of(model, bench.base) for field, model in models.items()}
    for reader in readers.values():
        reader.check_room([row.prompt for row in rows], settings.completion_tokens)
    parts = split([row.group for row in rows], spec.holdout, spec.seed)
    if len(parts.trained) < spec.batch_rows:
        raise Refused(
            f"batch_rows: a step reads {spec.batch_rows} prompts, and {len(parts.trained)} are left to train on; "
            "give more prompts or lower it"
        )
    hashes = {field: models[field].sha256 if field in models else None for field in ("reward", "judge")}
    loaded = {field: LoadedRewardModel(reader, bench.device) for field, reader in readers.items()}
    judge = loaded.get("judge")
    return PolicyTraining(bench, settings, rows, tokens, parts, tokenizer, ending, loaded["reward"], judge, hashes)


def _tokens(
    bench: Bench, rows: Sequence[PromptRow], tokenizer: PreTrainedTokenizerBase, completion_tokens: int
) -> list[Ids]:
    own = RowTokenizer(tokenizer, context_tokens(bench.base))
    tokens = [own.text(row.line, "prompt", row.prompt) for row in rows]
    for row, ids in zip(rows, tokens, strict=True):
        own.check_room(row.line, ids, completion_tokens)
    return tokens
