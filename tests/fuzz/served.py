"""The service to fuzz: an API process that requires keys, and a worker process, over a real Postgres."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.access.issuing import create_key
from service.artifacts.file_systems import FileSystemArtifacts
from service.records.access import LOCAL_CALLER, Scope
from service.records.work import WorkKind, WorkStatus
from service.storage.store import PostgresStore
from tests.acceptance.api_process import api_process
from tests.support.forked import end, forked
from tests.support.running.harness import CONFIG, pairs
from tests.support.stored import asked_for_training, claim_work

WAITING = 6  # paused jobs
ROWS_OF_SHORT, ROWS_OF_LONG = 8, 256  # the long ones are paused before a worker finishes them
SETTINGS = {
    "ICM_ACCESS__REQUIRED": "true",
    "ICM_ACCESS__REQUESTS_PER_MINUTE": "0",
    "ICM_LOG_LEVEL": "WARNING",
    "ICM_WEBHOOKS__MAX_ENDPOINTS": "1000000",
    "ICM_BACKENDS": json.dumps([{"name": "default", "kind": "deterministic"}]),
    "ICM_TRAINING__BASES": json.dumps({"default": "none"}),  # no worker here trains
}


@dataclass(frozen=True)
class Served:
    """The service's address, a key with all scopes, and existing values by names of parameters."""

    url: str
    key: str
    known: dict[str, list[str]]


@asynccontextmanager
async def served(database_url: str, log: Path) -> AsyncIterator[Served]:
    """Run a service with succeeded, cancelled and paused jobs, and a webhook."""
    artifacts = log.parent / "artifacts"
    settings = {**SETTINGS, "ICM_TRAINING__ARTIFACTS": str(artifacts)}
    store = PostgresStore(database_url)
    try:
        _, key = await create_key(store, project="default", name="fuzz", scopes=(Scope.ADMIN,))
        async with api_process(database_url, log=log, settings=settings) as api:
            with _worker(database_url):
                api.client.headers["Authorization"] = f"Bearer {key.text}"
                trainings = await _trainings(store, FileSystemArtifacts(str(artifacts)), log.parent)
                yield Served(str(api.client.base_url), key.text, await _things(api.client) | trainings)
    finally:
        await store.close()


@contextmanager
def _worker(database_url: str) -> Iterator[None]:
    environment = {**SETTINGS, "ICM_DATABASE_URL": database_url, "ICM_QUEUE__POLL_SECONDS": "0.2"}
    process = forked("workers.__main__", ["--kinds", "label,deliver"], environment=environment)
    try:
        yield
    finally:
        end(process)


async def _things(client: httpx.AsyncClient) -> dict[str, list[str]]:
    done, other, cancelled = [await _posted(client) for _ in range(3)]
    await client.post(f"/v1/jobs/{cancelled}/cancel")
    for job_id in (done, other, cancelled):
        await client.get(f"/v1/jobs/{job_id}/events")  # the stream ends with the job
    webhook_id, delivery_id = await _webhook(client)
    waiting = [await _posted(client, pause=True) for _ in range(WAITING)]
    jobs = await _get(client, "/v1/jobs?limit=1")
    labels = await _get(client, f"/v1/jobs/{done}/labels?limit=3")
    ended = [done, other, cancelled]
    return {
        "job_id": ended,
        "ended": ended,
        "waiting": waiting,
        "webhook_id": [webhook_id],
        "delivery_id": [delivery_id],
        "cursor": [jobs["next_cursor"], labels["next_cursor"]],
    }


# What a training of kind label says of itself, as far as the API reads it.
REPORT = {
    "kind": "label",
    "rows": {"trained": 2, "held_out": 0},
    "training": {"epochs": [], "tokens_per_second": 50.0, "peak_memory": {"bytes": 1000, "gpu_bytes": None}},
}


async def _trainings(store: PostgresStore, artifacts: FileSystemArtifacts, folder: Path) -> dict[str, list[str]]:
    """A training that has succeeded, with its artifact, and some that wait or were cancelled."""
    made = folder / "made"
    made.mkdir(exist_ok=True)
    (made / "weights").write_bytes(b"1234")
    done = await asked_for_training(store)
    work = await claim_work(store, WorkKind.TRAIN)
    assert work is not None
    artifact = await artifacts.put(done, made)
    async with store.worker_unit() as unit:
        await unit.trainings.finish(work.lease, artifact, manifest={}, report=REPORT)
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED)
    waiting, [cancelled, *deletable] = [[await asked_for_training(store) for _ in range(WAITING)] for _ in range(2)]
    async with store.project_unit(LOCAL_CALLER) as unit:
        for training_id in (cancelled, *deletable):
            await unit.trainings.request_cancel(training_id)
    ended = [done, cancelled]
    return {
        "training_id": [*ended],
        "ended_trainings": [*ended],
        "finished_trainings": [done],
        "waiting_trainings": [*waiting],
        "deletable_trainings": [*deletable],
    }


async def _webhook(client: httpx.AsyncClient) -> tuple[str, str]:
    made = await client.post("/v1/webhooks", json={"url": "https://icm.invalid/hook"})
    assert made.status_code == httpx.codes.CREATED, made.text
    webhook_id = made.json()["id"]
    tried = await client.post(f"/v1/webhooks/{webhook_id}/test")
    return webhook_id, tried.json()["id"]


async def _posted(client: httpx.AsyncClient, *, pause: bool = False) -> str:
    rows = ROWS_OF_LONG if pause else ROWS_OF_SHORT
    answer = await client.post("/v1/jobs", json={"config": CONFIG, "examples": pairs(rows)})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    job_id = str(answer.json()["id"])
    if pause:
        paused = await client.post(f"/v1/jobs/{job_id}/pause")
        assert paused.status_code == httpx.codes.ACCEPTED, paused.text
    return job_id


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.json()
