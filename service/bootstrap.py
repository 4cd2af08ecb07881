"""The composition root: settings in, wired application out; the only module that names every adapter."""

from dataclasses import dataclass, field
from importlib import import_module

from service.delivery.sender import HttpSender
from service.observability.metrics import ServiceMetrics
from service.ports import Store
from service.scoring.detection import detector
from service.scoring.deterministic import DeterministicScorer
from service.scoring.driving import Driver
from service.scoring.embedded import EmbeddedScorer
from service.scoring.llamacpp import LlamaCppWire
from service.scoring.probe import Examiner
from service.scoring.prompts import PromptScorer
from service.scoring.registry import ConfiguredScorers
from service.scoring.replicas import ReplicatedScorer
from service.scoring.sglang import SglangWire
from service.scoring.vllm import VllmWire
from service.scoring.wire import Wire
from service.scoring_ports import Scorer
from service.settings import BackendSettings, Settings
from service.storage.store import PostgresStore
from service.webhooks.addresses import AddressPolicy


@dataclass(frozen=True)
class Application:
    """The wired service."""

    settings: Settings
    store: Store
    scorers: ConfiguredScorers
    metrics: ServiceMetrics = field(default_factory=ServiceMetrics)

    async def close(self) -> None:
        """Release every connection."""
        await self.scorers.close()
        await self.store.close()


def build_application(settings: Settings, *, store: Store | None = None) -> Application:
    """Wire the service; nothing is connected to before its first use."""
    metrics = ServiceMetrics()
    store = store or build_store(settings)
    metrics.watch_pool(store.load)
    return Application(
        settings=settings,
        store=store,
        scorers=ConfiguredScorers({backend.name: _scorer(backend, metrics) for backend in settings.backends}),
        metrics=metrics,
    )


def build_store(settings: Settings) -> Store:
    """The store in the database that the settings name; nothing is connected to before its first use."""
    return PostgresStore(
        settings.database_url.get_secret_value(),
        pool_size=settings.database.pool_size,
        statement_timeout_seconds=settings.database.statement_timeout_seconds,
        max_crashes=settings.queue.max_crashes,
    )


def build_sender(settings: Settings) -> HttpSender:
    """What sends webhooks, to where the operator lets them lead."""
    webhooks = settings.webhooks
    policy = AddressPolicy(allowed=webhooks.networks, allow_http=webhooks.allow_http)
    return HttpSender(policy, timeout_seconds=webhooks.timeout_seconds)


def _scorer(backend: BackendSettings, metrics: ServiceMetrics) -> Scorer:
    if backend.kind == "deterministic":
        return DeterministicScorer(name=backend.name)
    urls = (backend.url, *backend.replicas)
    servers = [_server(backend, url, _driver(backend, number, metrics)) for number, url in enumerate(urls, start=1)]
    return ReplicatedScorer(backend.name, servers) if backend.replicas else servers[0]


def _driver(backend: BackendSettings, number: int, metrics: ServiceMetrics) -> Driver:
    """What drives one of a backend's servers; they count from 1, as the probe's messages do."""
    driver = Driver(
        concurrency=backend.concurrency,
        patience_seconds=backend.patience_seconds,
        name=backend.name,
        observer=metrics.calls_to(backend.name),
    )
    metrics.watch_server(backend.name, number, driver)
    return driver


def _server(backend: BackendSettings, url: str, driver: Driver) -> Scorer:
    """The scorer for one of a backend's servers, which is driven and probed by itself."""
    key = _api_key(backend)
    if backend.kind == "embedded":
        return EmbeddedScorer(
            backend.name,
            url,
            concurrency=backend.concurrency,
            timeout_seconds=backend.timeout_seconds,
            api_key=key,
            driver=driver,
        )
    return PromptScorer(backend.name, _wire(backend, url), driver, probe=Examiner(detector(url, api_key=key)))


def _wire(backend: BackendSettings, url: str) -> Wire:
    key = _api_key(backend)
    timeout_seconds, connections = backend.timeout_seconds, backend.concurrency
    match backend.kind:
        case "vllm":
            return VllmWire(
                url, timeout_seconds=timeout_seconds, connections=connections, model=backend.model, api_key=key
            )
        case "tgi":
            tgi: Wire = import_module("service.scoring.tgi").TgiWire(  # its client takes 0.2 s of CPU to load
                url,
                timeout_seconds=timeout_seconds,
                connections=connections,
                max_top_tokens=backend.max_top_tokens,
                api_key=key,
            )
            return tgi
        case "sglang":
            return SglangWire(
                url, timeout_seconds=timeout_seconds, connections=connections, model=backend.model, api_key=key
            )
        case "llamacpp":
            return LlamaCppWire(url, timeout_seconds=timeout_seconds, connections=connections, api_key=key)
        case kind:
            raise NotImplementedError(f"there is no adapter for {kind} yet")


def _api_key(backend: BackendSettings) -> str | None:
    return None if backend.api_key is None else backend.api_key.get_secret_value()
