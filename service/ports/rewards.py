"""The port that scores texts by a trained reward model."""

from collections.abc import Sequence
from typing import Protocol

from service.records.rewards import Rewarded, RewardModel


class RewardScorer(Protocol):
    """Keeps a reward model loaded while requests use it."""

    def problem(self, base: str) -> str | None:
        """Why this process cannot load reward models of this base, and what to do about it; None if it can."""

    async def score(self, model: RewardModel, texts: Sequence[str]) -> Rewarded:
        """The reward of each text, in their order; a text over the context has none.

        Raises RewardsUnavailable if another try may succeed, RewardModelUnusable if none will,
        ArtifactsUnavailable and ArtifactMissing.
        """

    async def close(self) -> None:
        """Free the loaded reward model."""
