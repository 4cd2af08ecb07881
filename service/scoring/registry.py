"""Finds the operator's scoring backends by name."""

from collections.abc import Callable, Mapping, Sequence

from cachetools import LRUCache

from service.errors import AdapterRefused, ModelNotFound, RewardModelUnusable
from service.ports.rewards import RewardScorer
from service.ports.scoring import Scorer
from service.ports.trained_scores import TrainedScorer
from service.records.adapters import TrainedAdapter
from service.scoring.adapted import adapted
from service.scoring.wires.adapters import LoadableAdapter

_REMEMBERED_ADAPTERS = 64  # scorers of adapters to keep, with their findings about the server

Loadable = Callable[[TrainedAdapter], LoadableAdapter]


class ConfiguredScorers:
    """The configured backends by name; the first is the default.

    `trainers` holds those whose base workers may train, `loadables` how the server of each gets a trained adapter;
    `rewards` scores by reward models.
    """

    def __init__(
        self,
        scorers: Mapping[str, Scorer],
        trainers: Mapping[str, TrainedScorer] | None = None,
        loadables: Mapping[str, Loadable] | None = None,
        rewards: RewardScorer | None = None,
    ) -> None:
        self._scorers = dict(scorers)
        self._trainers = dict(trainers or {})
        self._loadables = dict(loadables or {})
        self._rewards = rewards
        self._adapted = LRUCache[TrainedAdapter, Scorer](_REMEMBERED_ADAPTERS)

    def names(self) -> Sequence[str]:
        """All names, the default first."""
        return tuple(self._scorers)

    def get(self, name: str) -> Scorer:
        """The backend of this name. Raises ModelNotFound."""
        if name not in self._scorers:
            raise ModelNotFound(f"there is no model {name!r}; configured are: {', '.join(self._scorers)}")
        return self._scorers[name]

    def adapted(self, adapter: TrainedAdapter) -> Scorer:
        """The backend of the adapter's base, with the adapter, which its first call loads.

        It shares its connections with that backend. Raises AdapterRefused where there is none of that name, or one that
        loads no adapters while it runs.
        """
        if adapter not in self._adapted:
            loadable = self._loadables.get(adapter.backend)
            if loadable is None:
                raise AdapterRefused(
                    f"the training {adapter.training_id} started from {adapter.backend!r}, and no backend of that name "
                    f"could serve it; configured are: {', '.join(self._scorers)}"
                )
            self._adapted[adapter] = adapted(adapter.backend, self.get(adapter.backend), loadable(adapter))
        return self._adapted[adapter]

    def trainer(self, name: str) -> TrainedScorer | None:
        """The trainer for the base of this backend; None if the operator names no base. Raises ModelNotFound."""
        self.get(name)
        return self._trainers.get(name)

    @property
    def rewards(self) -> RewardScorer:
        """The scorer by reward models. Raises RewardModelUnusable in a process without one."""
        if self._rewards is None:
            raise RewardModelUnusable("this process asks no reward models")
        return self._rewards

    async def close(self) -> None:
        """Release every backend's connections, and the memory of a reward model."""
        if self._rewards is not None:
            await self._rewards.close()
        for scorer in self._scorers.values():
            await scorer.close()
