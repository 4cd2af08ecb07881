"""Clients who ask for much and read nothing, and the API as a process over Postgres."""

from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import orjson
import psutil

from tests.acceptance.api_process import ApiProcess, api_process
from tests.acceptance.slow_clients import SlowClient, connected, get
from tests.support.running.harness import CONFIG, pairs
from tests.support.running.processes import until

FEW_CONNECTIONS = {"ICM_DATABASE__POOL_SIZE": "2"}
IMPATIENT = {"ICM_SERVER__STALLED_SECONDS": "0.5"}
LENGTH = 500_000  # of a row, and of an event: together more than a socket holds
WIDEN = "UPDATE dataset_rows SET data = convert_to(json_build_object('a', 1, 'b', repeat('x', $1))::text, 'UTF8')"
ADD_EVENTS = """
    WITH counted AS (UPDATE jobs SET last_event = last_event + 8 RETURNING id, last_event)
    INSERT INTO events (job_id, sequence, type, created_at, data)
    SELECT id, last_event - 8 + number, 'note', now(), json_build_object('text', repeat('x', $1))
    FROM counted, generate_series(1, 8) AS number
"""


def port(api: ApiProcess) -> int:
    found = api.client.base_url.port
    assert found is not None
    return found


async def cancelled(api: ApiProcess) -> dict[str, Any]:
    """A job that has ended."""
    created = await api.client.post("/v1/jobs", json={"config": CONFIG, "examples": pairs(8)})
    assert created.status_code == 202, created.text
    job: dict[str, Any] = created.json()
    assert (await api.client.post(job["links"]["cancel"])).status_code == 202
    return job


async def started(client: SlowClient, path: str) -> None:
    """Wait until the answer has begun, and read nothing more."""
    await client.send(get(path))
    assert (await client.read(12)) == b"HTTP/1.1 200"


async def cut_off(api: ApiProcess, client: SlowClient) -> None:
    """Wait until the server has closed the connection."""
    process = psutil.Process(api.process.pid)

    async def is_gone() -> bool:
        return all(connection.raddr[1:] != (client.port,) for connection in process.net_connections())

    await until(is_gone)


async def test_stalled_downloads_keep_no_connection_to_the_database(
    database_url: str, operator: asyncpg.Connection
) -> None:
    async with api_process(database_url, settings=FEW_CONNECTIONS) as api, AsyncExitStack() as stack:
        job = await cancelled(api)
        await operator.execute(WIDEN, LENGTH)
        for form in ("jsonl", "csv", "parquet", "jsonl"):
            client = await stack.enter_async_context(connected(port(api)))
            await started(client, f"{job['links']['result']}?partial=true&format={form}")
        for path in (job["links"]["self"], "/v1/jobs", job["links"]["labels"]):
            assert (await api.client.get(path)).status_code == 200


async def test_a_stalled_download_is_cut_off(database_url: str, operator: asyncpg.Connection) -> None:
    async with api_process(database_url, settings=IMPATIENT) as api, connected(port(api)) as client:
        job = await cancelled(api)
        await operator.execute(WIDEN, LENGTH)
        await started(client, job["links"]["result"] + "?partial=true")
        await cut_off(api, client)
        whole = await api.client.get(job["links"]["result"], params={"partial": True})
        assert len(whole.content.splitlines()) == 8


async def test_a_stalled_stream_is_cut_off_and_can_be_resumed(database_url: str, operator: asyncpg.Connection) -> None:
    async with api_process(database_url, settings=IMPATIENT) as api, connected(port(api)) as client:
        job = await cancelled(api)
        await operator.execute(ADD_EVENTS, LENGTH)
        await started(client, job["links"]["events"])
        await cut_off(api, client)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
        stream = await api.client.get(job["links"]["events"], headers=headers)
        found = [orjson.loads(line[6:])["id"] for line in stream.text.splitlines() if line.startswith("data: ")]
        assert found == list(range(2, 12))
