"""Runs API, worker and inference server as processes once, and collects everything that operators can observe."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx

from icm.local_stack.free_ports import free_port
from service.access.issuing import create_key
from service.records.access import Scope
from service.storage.store import PostgresStore
from tests.acceptance.api_process import api_process
from tests.acceptance.otlp_receiver import ReceivedSpan, otlp_receiver
from tests.support.forked import end, forked
from tests.support.running.scoring_server import running_server

REQUEST_ID = "the-request-that-made-it"
CALLERS_TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{CALLERS_TRACE}-b7ad6b7169203331-01"
ROW_TEXT = "marmalade"  # in every row and in nothing else
ROWS = [{"text": f"{ROW_TEXT} {number}", "question": number // 2} for number in range(96)]
CONFIG = {
    "task": {"template": "{text}", "relations": [{"kind": "exactly_one", "group": "question"}]},
    "search": {"anchor_rows": 32, "shard_rows": 12, "initial_rows": 8, "restarts": 2},
}
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Observed:
    """Everything observed in the run."""

    job: dict[str, Any]
    shards: int
    secret: str  # of the API key
    api_log: str
    worker_log: str
    api_metrics: str
    worker_metrics: str
    spans: list[ReceivedSpan]
    received: bytes  # all of them as they were sent

    def lines(self, log: str) -> list[dict[str, Any]]:
        """A log's lines; each must be JSON."""
        return [json.loads(line) for line in log.splitlines()]


async def observed_run(database_url: str, folder: Path) -> Observed:
    """Post a job with a request id and a trace, let a worker finish it, read the metrics, and stop everything."""
    secret = await _new_key(database_url)
    with running_server() as inference, otlp_receiver() as receiver:
        settings = {
            "ICM_DATABASE_URL": database_url,
            "ICM_BACKENDS": json.dumps([{"name": "twin", "kind": "embedded", "url": inference.url}]),
            "ICM_ACCESS__REQUIRED": "true",
            "ICM_LOG_FORMAT": "json",
            "ICM_LOG_LEVEL": "DEBUG",
            "ICM_TELEMETRY__OTLP_ENDPOINT": receiver.url,
            "ICM_QUEUE__CHECKPOINT_SECONDS": "0",
            "ICM_WORKER__METRICS_PORT": str(free_port()),
        }
        api_log, worker_log = folder / "api.log", folder / "worker.log"
        async with api_process(database_url, log=api_log, settings=settings) as api:
            api.client.headers["Authorization"] = f"Bearer {secret}"
            with _worker(settings, worker_log) as worker:
                job = await _labelled(api.client)
                api_metrics = (await api.client.get("/metrics")).text
                async with httpx.AsyncClient() as client:
                    url = f"http://127.0.0.1:{settings['ICM_WORKER__METRICS_PORT']}/metrics"
                    worker_metrics = await _once(client, url, lambda text: "icm_worker_busy 0.0" in text)
                worker.terminate()
                await asyncio.to_thread(worker.join, PATIENCE_SECONDS)
                assert worker.exitcode == 0
            shards = await _shards(api.client, job["id"])
            await _misplace(api.client, secret)
            assert await api.terminate() == 0
        return Observed(
            job=job,
            shards=shards,
            secret=secret.rpartition("_")[2],
            api_log=api_log.read_text(),
            worker_log=worker_log.read_text(),
            api_metrics=api_metrics,
            worker_metrics=worker_metrics,
            spans=receiver.spans(),
            received=b"".join(receiver.bodies),
        )


async def _new_key(database_url: str) -> str:
    store = PostgresStore(database_url)
    try:
        _, made = await create_key(store, project="birds", name="test", scopes=[Scope.ADMIN], lifetime=None)
    finally:
        await store.close()
    return made.text


@contextmanager
def _worker(settings: dict[str, str], log: Path) -> Iterator[ForkServerProcess]:
    process = forked("workers.__main__", environment=settings, output=log)
    try:
        yield process
    finally:
        end(process)


async def _labelled(client: httpx.AsyncClient) -> dict[str, Any]:
    """Wait until the job has ended; returns it."""
    headers = {"X-Request-ID": REQUEST_ID, "traceparent": TRACEPARENT}
    created = await client.post(
        "/v1/jobs", json={"config": {**CONFIG, "model": "twin"}, "examples": ROWS}, headers=headers
    )
    assert created.status_code == 202, created.text
    ended = await _once(client, created.headers["location"], lambda text: json.loads(text)["finished_at"] is not None)
    job: dict[str, Any] = json.loads(ended)
    assert job["status"] == "succeeded", job
    return job


async def _once(client: httpx.AsyncClient, url: str, is_so: Callable[[str], bool]) -> str:
    """Poll until the answer is as expected; returns it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            text = (await client.get(url)).text
            if is_so(text):
                return text
            await asyncio.sleep(0.05)


async def _shards(client: httpx.AsyncClient, job_id: str) -> int:
    headers = {"Accept": "application/json"}
    page = (await client.get(f"/v1/jobs/{job_id}/events", params={"limit": 1000}, headers=headers)).json()
    return len({event["data"]["shard"] for event in page["data"] if event["type"] == "shard.finished"})


async def _misplace(client: httpx.AsyncClient, secret: str) -> None:
    """Send requests with the key in wrong places."""
    for path in (f"/v1/jobs/{secret}", f"/v1/jobs?api_key={secret}", f"/{secret}", f"/v1/jobs/{secret}/labels"):
        await client.get(path)
    for headers in ({"traceparent": secret}, {"X-Request-ID": secret}, {"tracestate": f"icm={secret}"}):
        await client.get("/v1/jobs", headers=headers)
    config = {**CONFIG, "model": secret}
    await client.post("/v1/jobs", json={"config": config, "examples": ROWS})
