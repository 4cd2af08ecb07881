"""Postgres' error on a full disk, and how the service handles it; `make endure` fills a real disk."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from service.errors import SpoolFull
from service.identifiers import WorkerId
from service.intake.bounds.scratch import scratch_space
from tests.support.running.harness import CONFIG, pairs
from tests.support.running.whole import whole_service
from workers.worker import Worker

_REFUSE = """
    CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$
"""


@asynccontextmanager
async def full_disk(operator: asyncpg.Connection, table: str) -> AsyncIterator[None]:
    """Refuse all writes to this table during the block, with the very error of a full disk."""
    await operator.execute(_REFUSE)
    await operator.execute(f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION refuse()")
    try:
        yield
    finally:  # other tests use the table later
        await operator.execute(f"DROP TRIGGER full_disk ON {table}")


async def post(client: httpx.AsyncClient) -> httpx.Response:
    body = {"config": CONFIG, "examples": pairs(8)}
    return await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "key"})


@pytest.mark.parametrize("table", ["dataset_rows", "idempotency_keys", "events"])
async def test_a_full_disk_is_answered_507_and_the_same_request_succeeds_once_there_is_room(
    database_url: str, operator: asyncpg.Connection, table: str
) -> None:
    async with whole_service(database_url) as (client, _):
        async with full_disk(operator, table):
            refused = await post(client)
            assert (await client.get("/v1/jobs")).json()["data"] == []
        assert (refused.status_code, refused.json()["type"]) == (507, "urn:icm:problem:storage-full")
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["Retry-After"]) >= 1
        assert (await post(client)).status_code == 202


@pytest.mark.parametrize("table", ["label_states", pytest.param("checkpoints", marks=pytest.mark.long)])
async def test_a_job_waits_out_a_full_disk_and_no_crash_is_counted(
    database_url: str, operator: asyncpg.Connection, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.endings.FULL_DISK_DELAY_SECONDS", 0.0)
    async with whole_service(database_url) as (client, application):
        posted = (await post(client)).json()
        worker = Worker(application, WorkerId("worker"))
        async with full_disk(operator, table):
            for _ in range(2 * application.settings.queue.max_crashes):
                assert await worker.work_once()
        while await worker.work_once():
            pass
        done = (await client.get(posted["links"]["self"])).json()
    assert done["status"] == "succeeded"
    assert done["progress"]["labeled"] == 8


def test_a_temporary_file_without_room_is_a_full_disk() -> None:
    with pytest.raises(SpoolFull), scratch_space(), Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")
    with pytest.raises(FileNotFoundError), scratch_space():
        raise FileNotFoundError(errno.ENOENT, "no such file")
