"""The whole service in one process: the real API, Postgres, queue, worker and search, and the deterministic scorer."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson

from api.app import create_app
from service.bootstrap import Application, build_application
from service.identifiers import WorkerId
from service.scoring.kinds import AnyBackend, backend_of
from service.settings import QueueSettings, Settings
from tests.support.running.harness import SELDOM
from workers.worker import Worker

Row = Mapping[str, Any]


@asynccontextmanager
async def whole_service(
    database_url: str, *backends: AnyBackend, **more: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Application]]:
    """A client of the API, and the application for workers; the deterministic scorer unless the test gives others.

    `more` are further settings.
    """
    settings = Settings(
        ICM_DATABASE_URL=database_url,
        **more,
        backends=backends or (backend_of(kind="deterministic"),),
        queue=QueueSettings(checkpoint_seconds=SELDOM),
    )
    application = build_application(settings)
    transport = httpx.ASGITransport(create_app(application))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client, application
    finally:
        await application.close()


async def finished_job(
    client: httpx.AsyncClient, application: Application, rows: Sequence[Row], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Post a job, work until the queue is empty, and read the job."""
    created = await client.post("/v1/jobs", json={"config": config, "examples": list(rows)})
    assert created.status_code == 202, created.text
    worker = Worker(application, WorkerId("worker"))
    while await worker.work_once():
        pass
    job: dict[str, Any] = (await client.get(created.headers["location"])).json()
    return job


async def result_rows(client: httpx.AsyncClient, job: Mapping[str, Any], **parameters: str) -> list[dict[str, Any]]:
    """The labelled rows."""
    reply = await client.get(f"/v1/jobs/{job['id']}/result", params=parameters)
    assert reply.status_code == 200, reply.text
    return [orjson.loads(line) for line in reply.text.splitlines()]


def found_labels(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The fields that the search found, without the users' columns."""
    return [(row["icm_label"], row["icm_confidence"], row["icm_margin"], row["icm_status"]) for row in rows]
