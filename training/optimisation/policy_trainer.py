"""The trainer of policies: TRL's RLOOTrainer with our own tokens of prompts and never partial checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from trl.trainer.rloo_trainer import RLOOTrainer

from training.data.tokenization import Ids
from training.optimisation.trainer import CheckpointingTrainer

FIGURES = ("reward", "kl_nats", "completion_tokens", "repetition")  # of each step, in events and in the report's curves


class EpochSampler(torch.utils.data.Sampler[int]):
    """The order of prompts, which depends on seed and epoch alone; each prompt repeats once per completion.

    TRL's sampler draws all epochs from one generator, so a training resumed in its second epoch would see another order
    than an uninterrupted one. Like TRL, it drops an incomplete last step.
    """

    def __init__(self, rows: int, rows_of_step: int, completions: int, *, parts: int, seed: int) -> None:
        self._rows, self._rows_of_step = rows, rows_of_step
        self._completions, self._parts, self._seed = completions, parts, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the trainer calls this before each one."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._rows // self._rows_of_step * self._rows_of_step * self._completions * self._parts

    def __iter__(self) -> Any:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(self._rows, generator=generator).tolist()
        for start in range(0, self._rows - self._rows_of_step + 1, self._rows_of_step):
            for _ in range(self._parts):  # the first draws completions for the whole step, the others use theirs
                for row in order[start : start + self._rows_of_step]:
                    yield from [row] * self._completions


class PolicyTrainer(CheckpointingTrainer, RLOOTrainer):
    """Raises rewards by REINFORCE with a leave-one-out baseline; KL to the base is subtracted from rewards."""

    prompt_tokens: Mapping[str, Ids]

    def create_model_card(self, *arguments: Any, **named: Any) -> None:
        """Write no model card: it would contain paths of this machine."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log TRL's figures, and the KL divergence of whole completions, which the trainer subtracts from rewards."""
        figures = self._metrics["train"]
        tokens = figures["completions/mean_length"]
        figures["kl_nats"] = [kl * mean for kl, mean in zip(figures["kl"], tokens, strict=True)]
        figures["completion_tokens"] = list(tokens)
        logs["num_input_tokens_seen"] = self.state.num_input_tokens_seen  # counted by TRL, not by Trainer
        super().log(logs, start_time)

    def _tokenize_prompts(self, prompts: Sequence[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(self.prompt_tokens[prompt]) for prompt in prompts], None, {}

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        given: Any = self.args  # RLOOConfig, which Trainer's own annotation hides
        rows: Any = self.train_dataset if dataset is None else dataset
        return EpochSampler(
            len(rows),
            given.generation_batch_size // given.num_generations,
            given.num_generations,
            parts=self.num_iterations * given.steps_per_generation,
            seed=given.seed,
        )
