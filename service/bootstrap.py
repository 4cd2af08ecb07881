"""Builds the application from the settings (composition root); the only module that names every adapter."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import assert_never

from service.artifacts.adapter_folder import AdapterFolder
from service.artifacts.file_systems import FileSystemArtifacts
from service.observability.metrics import ServiceMetrics
from service.ports.artifacts import Artifacts
from service.ports.rewards import RewardScorer
from service.ports.scoring import Scorer
from service.ports.store import Store
from service.ports.trained_scores import TrainedScorer
from service.scoring.calls.executor import CallExecutor
from service.scoring.deterministic import DeterministicBackend
from service.scoring.embedded import EmbeddedBackend
from service.scoring.kinds import AnyBackend, detector
from service.scoring.prompts import PromptScorer
from service.scoring.registry import ConfiguredScorers, Loadable
from service.scoring.replicas import ReplicatedScorer
from service.scoring.wires.adapters import LoadableAdapter
from service.scoring.wires.settings import BackendSettings, WireBackend
from service.settings import Settings
from service.storage.store import PostgresStore
from service.training_process.reward_scorer import ChildRewardScorer, RewardSettings
from service.training_process.trained_scorer import Base, ChildTrainer
from service.webhooks.addresses import AddressPolicy
from service.webhooks.http.sender import HttpSender


@dataclass(frozen=True)
class Application:
    """The wired service."""

    settings: Settings
    store: Store
    scorers: ConfiguredScorers
    metrics: ServiceMetrics = field(default_factory=ServiceMetrics)

    @cached_property
    def artifacts(self) -> Artifacts:
        """The artifact store, which connects at its first use."""
        return _artifacts(self.settings)

    @cached_property
    def copied_adapters(self) -> Artifacts | None:
        """The copies of adapters that inference servers read; None if they read the artifact store itself."""
        folder = str(self.settings.adapters_folder)
        return None if folder == self.settings.artifacts_place else FileSystemArtifacts(folder)

    async def close(self) -> None:
        """Release every connection."""
        await self.scorers.close()
        await self.store.close()


def build_application(settings: Settings, *, store: Store | None = None) -> Application:
    """Build the application; each part connects at its first use."""
    metrics = ServiceMetrics()
    store = store or build_store(settings)
    metrics.watch_pool(store.load)
    return Application(
        settings=settings,
        store=store,
        scorers=ConfiguredScorers(
            {backend.name: _scorer(backend, metrics) for backend in settings.backends},
            _trainers(settings),
            _loadables(settings),
            _rewards(settings),
        ),
        metrics=metrics,
    )


def _artifacts(settings: Settings) -> Artifacts:
    return FileSystemArtifacts(settings.artifacts_place)


def _rewards(settings: Settings) -> RewardScorer:
    """The scorer of texts by reward models, which loads one at its first use."""
    training = settings.training
    own = RewardSettings(
        bases=training.bases,
        folder=settings.reward_models_folder,
        device=training.device,
        threads=training.threads,
    )
    return ChildRewardScorer(own, _artifacts(settings))


def _trainers(settings: Settings) -> dict[str, TrainedScorer]:
    """The trainers for searches, by the name of the backend whose base they train."""
    training, folder = settings.training, settings.search_trainings_folder
    return {
        name: ChildTrainer(Base(name=base, device=training.device, at_once=training.at_once), folder)
        for name, base in training.bases.items()
    }


def _loadables(settings: Settings) -> dict[str, Loadable]:
    """For each backend, a function that prepares a trained adapter in the folder that its servers read."""
    files = AdapterFolder(FileSystemArtifacts(settings.artifacts_place), settings.adapters_folder)

    def loadable(backend: AnyBackend) -> Loadable:
        there = getattr(backend, "adapter_folder", None)
        return lambda adapter: LoadableAdapter(adapter, files, there)

    return {backend.name: loadable(backend) for backend in settings.backends}


def build_store(settings: Settings) -> Store:
    """The store in the database of the settings; it connects at its first use."""
    return PostgresStore(
        settings.database_url.get_secret_value(),
        pool_size=settings.database.pool_size,
        max_crashes=settings.queue.max_crashes,
    )


def build_sender(settings: Settings) -> HttpSender:
    """The sender of webhooks, to the addresses that the operator allows."""
    webhooks = settings.webhooks
    policy = AddressPolicy(allowed=webhooks.networks, allow_http=webhooks.allow_http)
    return HttpSender(policy, timeout_seconds=webhooks.timeout_seconds)


def _scorer(backend: AnyBackend, metrics: ServiceMetrics) -> Scorer:
    if isinstance(backend, DeterministicBackend):
        return backend.scorer()
    urls = (backend.url, *backend.replicas)
    servers = [_server(backend, url, _executor(backend, number, metrics)) for number, url in enumerate(urls, start=1)]
    return ReplicatedScorer(backend.name, servers) if backend.replicas else servers[0]


def _executor(backend: BackendSettings, number: int, metrics: ServiceMetrics) -> CallExecutor:
    """The executor of calls to one of a backend's servers, which are numbered from 1 as in the probe's messages."""
    executor = CallExecutor(
        concurrency=backend.concurrency,
        patience_seconds=backend.patience_seconds,
        name=backend.name,
        observer=metrics.calls_to(backend.name),
    )
    metrics.watch_server(backend.name, number, executor)
    return executor


def _server(backend: WireBackend | EmbeddedBackend, url: str, executor: CallExecutor) -> Scorer:
    """The scorer for one of a backend's servers, each with an executor and a probe of its own."""
    detect = detector(url, api_key=backend.bearer_token)
    match backend:
        case WireBackend():
            return PromptScorer(backend.name, backend.wire(url), executor, detect=detect)
        case EmbeddedBackend():
            return backend.scorer(url, executor, detect)
        case _:
            assert_never(backend)
