"""Finds the scorer that a job's `model` names: an operator's backend, or the adapter of a finished training."""

import asyncio
from collections.abc import Sequence

from service.errors import AdapterRefused, BackendUnavailable, Fault, InvalidConfig, ModelNotFound
from service.identifiers import is_training_id
from service.jobs.checks.finished_trainings import find_finished_training
from service.ports.rewards import RewardScorer
from service.ports.scoring import Scorer, Scorers
from service.ports.store import ProjectStore
from service.ports.trained_scores import TrainedScorer
from service.records.adapters import TrainedAdapter, trained_adapter
from service.records.jobs import ClaimedShard
from service.records.training_kinds import TrainingKind

_LOAD_SECONDS = 60.0  # longest wait of a request for the inference server to load an adapter
_ADAPTER = "lora"  # the method that trains an adapter


class ModelsOfJob:
    """The operator's backends, and one job's adapter under the id of its training."""

    def __init__(self, scorers: Scorers, model: str, scorer: Scorer) -> None:
        self._scorers, self._model, self._scorer = scorers, model, scorer

    def names(self) -> Sequence[str]:
        """The names of the operator's backends, the default first."""
        return self._scorers.names()

    def get(self, name: str) -> Scorer:
        """The adapter's scorer for the job's model, else that of the backend of this name. Raises ModelNotFound."""
        return self._scorer if name == self._model else self._scorers.get(name)

    def adapted(self, adapter: TrainedAdapter) -> Scorer:
        """The scorer of an adapter over the backend of its base. Raises AdapterRefused."""
        return self._scorers.adapted(adapter)

    def trainer(self, name: str) -> TrainedScorer | None:
        """The trainer of this backend's base; None for a trained adapter. Raises ModelNotFound."""
        return None if name == self._model else self._scorers.trainer(name)

    @property
    def rewards(self) -> RewardScorer:
        """The scorer of reward models. Raises RewardModelUnusable if this process has none."""
        return self._scorers.rewards


async def models_of(model: str, store: ProjectStore, scorers: Scorers) -> Scorers:
    """The operator's backends, and the adapter of the training that `model` names, loaded by its server.

    Raises InvalidConfig, which says why no server can serve the training, and BackendError.
    """
    if model in scorers.names() or not is_training_id(model):
        return scorers
    adapter = await _adapter(model, store)
    try:
        scorer = scorers.adapted(adapter)
        async with asyncio.timeout(_LOAD_SECONDS):
            await scorer.identify()
    except AdapterRefused as error:
        raise _invalid(str(error)) from error
    except TimeoutError as error:
        raise BackendUnavailable(
            f"the backend {adapter.backend!r} has not loaded the adapter of {model} in {_LOAD_SECONDS:.0f} seconds"
        ) from error
    return ModelsOfJob(scorers, model, scorer)


def scorer_of(shard: ClaimedShard, scorers: Scorers) -> Scorer:
    """The scorer of a shard. Raises AdapterRefused, and ModelNotFound, also if the job's training has been deleted."""
    if shard.adapter is not None:
        return scorers.adapted(shard.adapter)
    if is_training_id(shard.config.model) and shard.config.model not in scorers.names():
        raise ModelNotFound(f"the training {shard.config.model}, whose adapter is the job's model, was deleted")
    return scorers.get(shard.config.model)


async def _adapter(training_id: str, store: ProjectStore) -> TrainedAdapter:
    """The adapter that a training of kind `label` has made. Raises InvalidConfig if it has made none."""
    found = await find_finished_training(store, training_id, TrainingKind.LABEL)
    if isinstance(found, str):
        raise _invalid(found)
    training = found.training
    if training.config.get("method", _ADAPTER) != _ADAPTER:
        raise _invalid(
            f"the training {training.id} has trained a whole language model, and servers load only adapters while they "
            f"run; download it (icm adapters {training.id}), serve it, and let the operator name it as a backend"
        )
    if training.artifact is None:
        raise _invalid(f"the training {training.id} has no adapter; train again")
    return trained_adapter(training.id, training.base, training.artifact.sha256, found.manifest)


def _invalid(message: str) -> InvalidConfig:
    return InvalidConfig(message, [Fault(message, field="model")])
