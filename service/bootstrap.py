"""The composition root: settings in, wired application out; the only module that names every adapter."""

from dataclasses import dataclass

from service.ports import Scorer, Store
from service.scoring.deterministic import DeterministicScorer
from service.scoring.embedded import EmbeddedScorer
from service.scoring.registry import ConfiguredScorers
from service.scoring.tgi import TgiScorer
from service.settings import BackendSettings, Settings
from service.storage.store import PostgresStore


@dataclass(frozen=True)
class Application:
    """The wired service."""

    settings: Settings
    store: Store
    scorers: ConfiguredScorers

    async def close(self) -> None:
        """Release every connection."""
        await self.scorers.close()
        await self.store.close()


def build_application(settings: Settings, *, store: Store | None = None) -> Application:
    """Wire the service; nothing is connected to before its first use."""
    return Application(
        settings=settings,
        store=store or build_store(settings),
        scorers=ConfiguredScorers({backend.name: _scorer(backend) for backend in settings.backends}),
    )


def build_store(settings: Settings) -> Store:
    """The store in the database that the settings name; nothing is connected to before its first use."""
    return PostgresStore(
        settings.database_url.get_secret_value(),
        pool_size=settings.database.pool_size,
        statement_timeout_seconds=settings.database.statement_timeout_seconds,
        max_crashes=settings.queue.max_crashes,
    )


def _scorer(backend: BackendSettings) -> Scorer:
    match backend.kind:
        case "deterministic":
            return DeterministicScorer(name=backend.name)
        case "embedded":
            return EmbeddedScorer(
                backend.name, backend.url, concurrency=backend.concurrency, timeout_seconds=backend.timeout_seconds
            )
        case "tgi":
            return TgiScorer(
                backend.name,
                backend.url,
                concurrency=backend.concurrency,
                timeout_seconds=backend.timeout_seconds,
                max_top_tokens=backend.max_top_tokens,
            )
        case kind:
            raise NotImplementedError(f"there is no adapter for {kind} yet")
