"""TRL's RewardTrainer, with checkpoints that are complete or absent."""

from typing import Any

from trl.trainer.reward_trainer import RewardTrainer

from training.optimisation.trainer import CheckpointingTrainer


class PairTrainer(CheckpointingTrainer, RewardTrainer):
    """Learn rewards by Bradley and Terry: the loss is the mean of -log sigmoid(r(chosen) - r(rejected) - margin)."""

    def create_model_card(self, *arguments: Any, **named: Any) -> None:
        """Write no card, since it would contain paths of this machine."""
