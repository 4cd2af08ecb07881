"""The whole service in one process: the API over its store, a worker, and the deterministic backend."""

import asyncio
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import httpx
import orjson
from fastapi import FastAPI

from api.app import create_app
from service.access.issuing import create_key
from service.artifacts.file_systems import FileSystemArtifacts
from service.identifiers import WorkerId
from service.jobs.running.run import run_shard
from service.observability.metrics import ServiceMetrics
from service.ports.artifacts import Artifacts
from service.ports.scoring import Scorer
from service.ports.store import Store
from service.records.access import Scope
from service.records.jobs import ClaimedShard
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.settings import Settings, UploadSettings
from tests.support.claiming import claim_shard

WORKER = WorkerId("worker")
SELDOM = 60.0  # seconds between the checkpoints of a job: each takes longer than a step of its search
CONFIG: dict[str, Any] = {
    "name": "pairs",
    "task": {
        "template": "Is {a} larger than {b}? It is",
        "labels": ["Yes", "No"],
        "id_field": "id",
        "gold_field": "gold",
        "relations": [{"kind": "antisymmetric", "first": "a", "second": "b"}],
    },
}


def pairs(count: int) -> list[dict[str, Any]]:
    """Rows, each with its swapped twin beside it."""
    rows = []
    for number in range(count):
        low, high = number // 2, number // 2 + 1
        a, b = (low, high) if number % 2 == 0 else (high, low)
        rows.append({"gold": "yes" if a > b else "no", "a": a, "id": f"row-{number}", "b": b})
    return rows


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@cache
def usual_settings() -> Settings:
    """The default settings, read once, since reading the environment takes longer than many tests."""
    return Settings(upload=UploadSettings())


@dataclass
class Service:
    """The API's application, with methods to drive it in tests."""

    store: Store
    backend: Scorer = field(default_factory=DeterministicScorer)
    settings: Settings = field(default_factory=usual_settings)
    metrics: ServiceMetrics = field(default_factory=ServiceMetrics)
    # All apps share the routes and the document of the first one, since FastAPI would analyse them again for each.
    _first_app: ClassVar[FastAPI | None] = None

    def __post_init__(self) -> None:
        self.scorers = ConfiguredScorers({"default": self.backend})
        self.artifacts: Artifacts = FileSystemArtifacts(self.settings.artifacts_place)
        self.app = create_app(self)
        Service._first_app = first = Service._first_app or self.app
        self.app.router.routes[:] = first.router.routes
        self.app.openapi = first.openapi  # type: ignore[method-assign]  # FastAPI's way to replace the document
        self.client = self.connected()

    def connected(self, key: str | None = None) -> httpx.AsyncClient:
        """A client with this API key, or without one."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    async def member(self, project: str, *scopes: Scope) -> httpx.AsyncClient:
        """A client with a new key of this project; without scopes, the key has all of them."""
        _, made = await create_key(self.store, project=project, name="test", scopes=scopes or (Scope.ADMIN,))
        return self.connected(made.text)

    async def post(self, rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
        """Create a job from inline examples."""
        body = {"config": {**CONFIG, **changes}, "examples": pairs(8) if rows is None else rows}
        answer = await self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def upload(self, content: bytes, name: str, path: str = "/v1/jobs", **headers: str) -> httpx.Response:
        """The answer to a multipart upload."""
        files = {"dataset": (name, content)}
        return await self.client.post(path, files=files, data={"config": orjson.dumps(CONFIG)}, headers=headers)

    async def claim(self) -> ClaimedShard | None:
        """Claim a shard, as a worker does."""
        async with self.store.worker_unit() as unit:
            return await claim_shard(unit, WORKER, 60.0)

    async def work(self) -> None:
        """Label everything that is queued, as workers do."""
        while (claimed := await self.claim()) is not None:
            await run_shard(self.store, self.backend, claimed, checkpoint_seconds=SELDOM, stop=asyncio.Event())

    async def labelled(self, rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
        """A job that has succeeded."""
        job = await self.post(rows, **changes)
        await self.work()
        return await self.get(job["id"])

    async def get(self, job_id: str, path: str = "", **parameters: Any) -> dict[str, Any]:
        """The API's answer about a job."""
        answer = await self.client.get(f"/v1/jobs/{job_id}{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found
