"""The API while its database is killed, cut off and frozen; the long form of this is `make endure`."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from icm import AsyncClient
from tests.acceptance.api_process import ApiProcess, api_process
from tests.endurance.kept_postgres import KeptPostgres, kept_postgres, until
from tests.endurance.outages import POOL_SIZE, Outcome, disconnect_half, freeze, kill_postgres
from tests.long import LONG
from tests.support.running.harness import CONFIG, pairs

pytestmark = pytest.mark.timeout(300)


ROUNDS = 20 if LONG else 8


@pytest.fixture(scope="module")
async def durable(anyio_backend: str) -> AsyncIterator[KeptPostgres]:
    async with kept_postgres(durable=True) as running:
        yield running


def assert_polite(outcome: Outcome) -> None:
    """Every answer was the right one or a polite refusal; nothing promised is lost, and the pool is whole."""
    assert set(outcome.statuses) <= {200, 202, 503}, outcome
    assert outcome.rude == []
    assert outcome.lost == 0
    assert outcome.sessions == POOL_SIZE


async def test_a_postgres_that_is_killed_in_every_way_comes_back_and_nothing_is_lost(durable: KeptPostgres) -> None:
    before = len(durable.said)
    outcome = await kill_postgres(durable, faults=3)
    assert_polite(outcome)
    assert (
        sum("runs again" in line for line in durable.said[before:]) == 2
    )  # the death of a session is made good by Postgres itself


async def test_sessions_that_are_ended_again_and_again_are_replaced(durable: KeptPostgres) -> None:
    outcome = await disconnect_half(durable, rounds=ROUNDS, pause_seconds=0.0)
    assert outcome.faults["sessions ended"] > 0
    assert_polite(outcome)


async def test_a_frozen_postgres_makes_no_request_hang(durable: KeptPostgres) -> None:
    outcome = await freeze(durable, requests=2 * POOL_SIZE)
    assert outcome.statuses[503] == 2 * POOL_SIZE
    assert_polite(outcome)


async def test_a_reader_of_events_misses_none_and_sees_none_twice_when_the_database_dies(durable: KeptPostgres) -> None:
    async with api_process(durable.server.url) as api, AsyncClient(str(api.client.base_url)) as client:
        job = await client.create_job(pairs(4), CONFIG)
        seen: list[int] = []
        reading = asyncio.create_task(_read(client, job.id, seen))
        await durable.until(lambda: seen == [1])
        await durable.kill_server()
        await until(lambda: _is_ready(api))
        await client.cancel(job.id)
        await reading
    assert len(seen) > 1
    assert seen == list(range(1, len(seen) + 1))


async def _read(client: AsyncClient, job_id: str, seen: list[int]) -> None:
    async for event in client.events(job_id):
        seen.append(event.id)  # noqa: PERF401 - each one as it comes


async def _is_ready(api: ApiProcess) -> bool:
    return (await api.client.get("/health/ready")).is_success
