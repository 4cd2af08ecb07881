"""The API as a process over Postgres, with a worker's run in between."""

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import psutil
import pyarrow.parquet as pq
import pytest

from service.identifiers import WorkerId
from service.jobs.running.run import run_shard
from service.scoring.deterministic import DeterministicScorer
from service.storage.store import PostgresStore
from tests.acceptance.api_process import ApiProcess, api_process
from tests.support.claiming import claim_shard
from tests.support.running.harness import CONFIG, jsonl, pairs

NOWHERE = "postgresql+asyncpg://icm:icm@127.0.0.1:1/icm"


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[ApiProcess]:
    async with api_process(database_url) as running:
        yield running


async def upload(api: ApiProcess, content: bytes, name: str = "a.jsonl", **headers: str) -> httpx.Response:
    files, data = {"dataset": (name, content)}, {"config": orjson.dumps(CONFIG)}
    return await api.client.post("/v1/jobs", files=files, data=data, headers=headers)


async def posted(api: ApiProcess, rows: int = 8) -> dict[str, Any]:
    answer = await upload(api, jsonl(pairs(rows)))
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def work(database_url: str) -> None:
    """What workers do: label everything that is queued."""
    store, scorer = PostgresStore(database_url), DeterministicScorer()
    try:
        while (claimed := await _claim(store)) is not None:
            await run_shard(store, scorer, claimed, checkpoint_seconds=0, stop=asyncio.Event())
    finally:
        await store.close()


async def _claim(store: PostgresStore) -> Any:
    async with store.worker_unit() as unit:
        return await claim_shard(unit, WorkerId("worker"), 60.0)


async def test_a_compressed_data_set_comes_back_labelled(api: ApiProcess, database_url: str) -> None:
    job = (await upload(api, gzip.compress(jsonl(pairs(100))), "pairs.jsonl.gz")).json()
    await work(database_url)
    finished = (await api.client.get(job["links"]["self"])).json()
    assert (finished["status"], finished["progress"]["labeled"]) == ("succeeded", 100)
    rows = [orjson.loads(line) for line in (await api.client.get(job["links"]["result"])).content.splitlines()]
    assert [{name: row[name] for name in ("gold", "a", "id", "b")} for row in rows] == pairs(100)
    assert {row["icm_label"] for row in rows} == {"Yes", "No"}
    parquet = (await api.client.get(job["links"]["result"] + "?format=parquet")).content
    assert pq.read_table(io.BytesIO(parquet)).to_pylist() == rows
    report = (await api.client.get(job["links"]["report"])).json()
    assert (report["rows"], report["gold_rows"], report["inconsistencies"]) == (100, 100, 0)


async def read_stream(api: ApiProcess, link: str, seen: asyncio.Queue[int], **headers: str) -> list[tuple[int, str]]:
    """Every event up to the end of the stream."""
    found: list[tuple[int, str]] = []
    async with api.client.stream("GET", link, headers=headers) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                event = orjson.loads(line.removeprefix("data: "))
                found.append((event["id"], event["type"]))
                seen.put_nowait(event["id"])
    return found


async def test_events_arrive_while_the_job_runs_and_the_stream_ends_with_it(api: ApiProcess, database_url: str) -> None:
    job, seen = await posted(api), asyncio.Queue[int]()
    stream = asyncio.create_task(read_stream(api, job["links"]["events"], seen))
    assert await asyncio.wait_for(seen.get(), 30) == 1  # before there is a worker
    await work(database_url)
    found = await asyncio.wait_for(stream, 30)
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert found[-1][1] == "job.succeeded"
    headers = {"Last-Event-ID": str(found[1][0])}
    again = await asyncio.wait_for(read_stream(api, job["links"]["events"], seen, **headers), 30)
    assert again == found[2:]


async def test_open_streams_do_not_delay_the_shutdown(api: ApiProcess) -> None:
    job, seen = await posted(api), asyncio.Queue[int]()
    streams = [asyncio.create_task(read_stream(api, job["links"]["events"], seen)) for _ in range(5)]
    for _ in streams:
        await asyncio.wait_for(seen.get(), 30)
    assert await api.terminate() == 0
    assert [len(found) for found in await asyncio.gather(*streams)] == [1] * 5


async def test_concurrent_requests_with_one_key_create_one_job(api: ApiProcess) -> None:
    content = jsonl(pairs(50))
    answers = await asyncio.gather(*(upload(api, content, **{"Idempotency-Key": "key"}) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert len((await api.client.get("/v1/jobs")).json()["data"]) == 1


async def test_many_rows_are_read_with_little_memory(api: ApiProcess) -> None:
    content = jsonl(pairs(50_000))
    process = psutil.Process(api.process.pid)
    before = process.memory_info().rss
    answer = await upload(api, content)
    assert answer.json()["progress"]["rows"] == 50_000
    assert process.memory_info().rss - before < 80_000_000
    page = (await api.client.get(answer.json()["links"]["labels"], params={"limit": 1000})).json()
    assert [state["id"] for state in page["data"]] == [f"row-{number}" for number in range(1000)]


async def test_a_reader_who_leaves_releases_the_connection(api: ApiProcess, database_url: str) -> None:
    job = await posted(api, 2_000)
    await api.client.post(job["links"]["cancel"])
    for _ in range(30):  # more than the pool has connections
        async with api.client.stream("GET", job["links"]["result"] + "?partial=true") as answer:
            assert answer.status_code == 200
    whole = await api.client.get(job["links"]["result"] + "?partial=true")
    assert len(whole.content.splitlines()) == 2_000


async def test_without_a_database_the_api_lives_but_is_not_ready() -> None:
    async with api_process(NOWHERE, ready=False) as running:
        assert (await running.client.get("/health/live")).status_code == 200
        for path in ("/health/ready", "/v1/jobs"):
            answer = await running.client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:icm:problem:storage-unavailable")
        assert await running.terminate() == 0
