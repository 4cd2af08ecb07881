"""Finds the operator's scoring backends by name."""

from collections.abc import Mapping, Sequence

from service.errors import ModelNotFound, RewardModelUnusable
from service.ports.rewards import RewardScorer
from service.ports.scoring import Scorer
from service.ports.trained_scores import TrainedScorer


class ConfiguredScorers:
    """The configured backends by name; the first is the default.

    `trainers` holds those whose base workers may train; `rewards` asks reward models.
    """

    def __init__(
        self,
        scorers: Mapping[str, Scorer],
        trainers: Mapping[str, TrainedScorer] | None = None,
        rewards: RewardScorer | None = None,
    ) -> None:
        self._scorers = dict(scorers)
        self._trainers = dict(trainers or {})
        self._rewards = rewards

    def names(self) -> Sequence[str]:
        """All names, the default first."""
        return tuple(self._scorers)

    def get(self, name: str) -> Scorer:
        """The backend of this name. Raises ModelNotFound."""
        if name not in self._scorers:
            raise ModelNotFound(f"there is no model {name!r}; configured are: {', '.join(self._scorers)}")
        return self._scorers[name]

    def trainer(self, name: str) -> TrainedScorer | None:
        """Who trains the base of this backend; None where the operator has named none. Raises ModelNotFound."""
        self.get(name)
        return self._trainers.get(name)

    @property
    def rewards(self) -> RewardScorer:
        """Who asks reward models. Raises RewardModelUnusable where nobody does."""
        if self._rewards is None:
            raise RewardModelUnusable("this process asks no reward models")
        return self._rewards

    async def close(self) -> None:
        """Release every backend's connections, and the memory of a reward model."""
        if self._rewards is not None:
            await self._rewards.close()
        for scorer in self._scorers.values():
            await scorer.close()
