"""A job so small that a test can try every possible event, on a service in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from api.app import create_app
from service.bootstrap import Application, build_application
from service.identifiers import JobId
from service.settings import QueueSettings, Settings
from service.storage.store import PostgresStore
from tests.chaos.undisturbed import BACKENDS

ROWS = 8
SEARCH = {
    "strategy": "folds",
    "objective": "utility",
    "anchor_rows": 4,
    "shard_rows": 4,
    "initial_rows": 4,
    "restarts": 1,
    "sweeps": 1,
}


def config() -> dict[str, Any]:
    """The configuration: an anchor and one later shard."""
    relation = {"kind": "exactly_one", "group": "question"}
    return {"task": {"template": "{text}", "relations": [relation]}, "search": SEARCH}


def rows() -> list[dict[str, Any]]:
    """Pairs of claims."""
    return [{"text": f"claim {row}", "question": row // 2} for row in range(ROWS)]


@dataclass
class SmallService:
    """A service on a real Postgres; the tests act as its workers."""

    client: httpx.AsyncClient
    application: Application
    store: PostgresStore

    async def submitted(self) -> JobId:
        """Queue the job."""
        created = await self.client.post("/v1/jobs", json={"config": config(), "examples": rows()})
        assert created.status_code == 202, created.text
        return JobId(created.json()["id"])


@asynccontextmanager
async def small_service(store: PostgresStore) -> AsyncIterator[SmallService]:
    """A service on this store."""
    settings = Settings(backends=BACKENDS, queue=QueueSettings(checkpoint_seconds=0.0))
    application = build_application(settings, store=store)
    transport = httpx.ASGITransport(create_app(application))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield SmallService(client, application, store)
    await application.close()
