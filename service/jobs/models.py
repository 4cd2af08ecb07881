"""Finds who scores for a job: a backend of the operator's, or the adapter of a finished training of the project."""

import asyncio
from collections.abc import Sequence

from service.errors import (
    AdapterRefused,
    BackendUnavailable,
    Fault,
    InvalidConfig,
    ModelNotFound,
    TrainingNotFinished,
    TrainingNotFound,
)
from service.identifiers import JobId, is_training_id
from service.ports.rewards import RewardScorer
from service.ports.scoring import Scorer, Scorers
from service.ports.store import ProjectStore
from service.ports.trained_scores import TrainedScorer
from service.records.adapters import TrainedAdapter, trained_adapter
from service.records.jobs import ClaimedShard
from service.records.trainings import Training, TrainingReport

_LOAD_SECONDS = 60.0  # longest wait of a request for the inference server to load an adapter
_LABELS = "label"  # the kind of training whose model says labels
_ADAPTER = "lora"  # the method that leaves an adapter
_WHAT_OTHERS_DO = {"reward": "which gives a text a number", "policy": "which writes completions"}


class ModelsOfJob:
    """The operator's backends, and the model of one job where it names a training."""

    def __init__(self, scorers: Scorers, model: str, scorer: Scorer) -> None:
        self._scorers, self._model, self._scorer = scorers, model, scorer

    def names(self) -> Sequence[str]:
        """All names of the operator's, the default first."""
        return self._scorers.names()

    def get(self, name: str) -> Scorer:
        """The job's model, or the backend of this name. Raises ModelNotFound."""
        return self._scorer if name == self._model else self._scorers.get(name)

    def adapted(self, adapter: TrainedAdapter) -> Scorer:
        """The backend of the adapter's base, with the adapter. Raises AdapterRefused."""
        return self._scorers.adapted(adapter)

    def trainer(self, name: str) -> TrainedScorer | None:
        """Who trains the base of this backend; None for a trained adapter. Raises ModelNotFound."""
        return None if name == self._model else self._scorers.trainer(name)

    @property
    def rewards(self) -> RewardScorer:
        """Who asks reward models. Raises RewardModelUnusable where nobody does."""
        return self._scorers.rewards


async def models_of(model: str, store: ProjectStore, scorers: Scorers) -> Scorers:
    """The operator's backends, and the adapter where the model is a training of the project, loaded by its server.

    Raises InvalidConfig, which says why the training cannot be served, and BackendError.
    """
    if model in scorers.names() or not is_training_id(model):
        return scorers
    adapter = await _adapter(JobId(model), store)
    try:
        scorer = scorers.adapted(adapter)
        async with asyncio.timeout(_LOAD_SECONDS):
            await scorer.identify()
    except AdapterRefused as error:
        raise _invalid(str(error)) from error
    except TimeoutError as error:
        told = f"the backend {adapter.backend!r} has not loaded the adapter of {model} in {_LOAD_SECONDS:.0f} seconds"
        raise BackendUnavailable(told) from error
    return ModelsOfJob(scorers, model, scorer)


def scorer_of(shard: ClaimedShard, scorers: Scorers) -> Scorer:
    """Who scores a shard. Raises ModelNotFound, also where its training was deleted meanwhile, and AdapterRefused."""
    if shard.adapter is not None:
        return scorers.adapted(shard.adapter)
    if is_training_id(shard.config.model) and shard.config.model not in scorers.names():
        raise ModelNotFound(f"the training {shard.config.model}, whose adapter is the job's model, was deleted")
    return scorers.get(shard.config.model)


async def _adapter(training_id: JobId, store: ProjectStore) -> TrainedAdapter:
    try:
        async with store.project_unit() as unit:
            found = await unit.trainings.report(training_id)
    except TrainingNotFound:
        told = f"there is no training {training_id}; it was deleted, or the project never had it"
        raise _invalid(told) from None
    except TrainingNotFinished:
        async with store.project_unit() as unit:
            training = await unit.trainings.get(training_id)
        raise _invalid(f"the training {training_id} is {training.status}; {_while_not(training)}") from None
    return _checked(found)


def _checked(found: TrainingReport) -> TrainedAdapter:
    training = found.training
    if (kind := training.config.get("kind", _LABELS)) != _LABELS:
        what = f", {_WHAT_OTHERS_DO[kind]}" if kind in _WHAT_OTHERS_DO else ""
        raise _invalid(
            f"the training {training.id} is of kind {kind}{what}: a job needs one of kind {_LABELS}, which says labels"
        )
    if training.config.get("method", _ADAPTER) != _ADAPTER:
        raise _invalid(
            f"the training {training.id} has trained a whole language model, and servers load only adapters while they "
            f"run; download it (icm adapters {training.id}), serve it, and let the operator name it as a backend"
        )
    if training.artifact is None:
        raise _invalid(f"the training {training.id} has no adapter")
    return trained_adapter(training.id, training.base, training.artifact.sha256, found.manifest)


def _while_not(training: Training) -> str:
    """What to do about a training that has not succeeded."""
    return "train again" if training.finished_at is not None else "a job can name it once it has succeeded"


def _invalid(told: str) -> InvalidConfig:
    return InvalidConfig(told, [Fault(told, field="model")])
