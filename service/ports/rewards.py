"""The port to whoever gives texts the rewards of a trained reward model."""

from collections.abc import Sequence
from typing import Protocol

from service.records.rewards import Rewarded, RewardModel


class RewardScorer(Protocol):
    """Keeps a reward model loaded for as long as it is used."""

    def problem(self, base: str) -> str | None:
        """Why reward models of this base give no rewards here, and what to do about it; None where they do."""

    async def score(self, model: RewardModel, texts: Sequence[str]) -> Rewarded:
        """The reward of each text, in their order; a text over the context has none.

        Raises RewardsUnavailable where another try may succeed, RewardModelUnusable where none will,
        ArtifactsUnavailable and ArtifactMissing.
        """

    async def close(self) -> None:
        """End whatever gives rewards."""
