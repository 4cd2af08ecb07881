"""A process that stops in the middle of a statement keeps its locks until somebody ends its transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from service.storage.engine import driver_address
from service.storage.store import PostgresStore
from tests.support.running.processes import until
from workers.unblocking import EVERY_SECONDS, Unblocking

LOCK, IS_FREE = "SELECT pg_advisory_xact_lock(7)", "SELECT pg_try_advisory_xact_lock(7)"


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(driver_address(database_url))
    try:
        yield connection
    finally:
        connection.terminate()


def stop_before_running(connection: Any, statement: bytes) -> None:
    """Send the first two of a statement's messages, Parse and Flush, and no more (the protocol's extended query)."""
    parse = b"\0" + statement + b"\0\0\0"
    connection._transport.write(b"P" + (len(parse) + 4).to_bytes(4) + parse + b"H" + (4).to_bytes(4))


async def is_waiting_for_its_client(observer: Any, process: int) -> bool:
    query = "SELECT state = 'active' AND wait_event = 'ClientRead' FROM pg_stat_activity WHERE pid = $1"
    return bool(await observer.fetchval(query, process))


async def ended(store: PostgresStore, age: timedelta = timedelta(0)) -> int:
    async with store.maintenance_unit() as unit:
        return await unit.end_stalled_transactions(age)


@asynccontextmanager
async def stalled(database_url: str) -> AsyncIterator[Any]:
    """A connection that watches another, which holds a lock and has stopped half-way."""
    async with connected(database_url) as connection, connected(database_url) as observer:
        process = connection.get_server_pid()
        await connection.execute("BEGIN")
        await connection.execute(LOCK)
        stop_before_running(connection, b"SELECT 1")

        async def waits() -> bool:
            return await is_waiting_for_its_client(observer, process)

        await until(waits)
        assert not await observer.fetchval(IS_FREE)
        yield observer


async def test_a_process_that_stops_between_two_messages_loses_its_locks(
    database_url: str, postgres_store: PostgresStore
) -> None:
    async with stalled(database_url) as observer:
        assert await ended(postgres_store, timedelta(minutes=1)) == 0
        assert await ended(postgres_store) == 1

        async def is_free() -> bool:
            return bool(await observer.fetchval(IS_FREE))

        await until(is_free)


async def test_the_task_ends_no_transaction_before_its_time_out(
    database_url: str, postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stalled(database_url) as observer:
        assert await Unblocking(postgres_store).run_once() == EVERY_SECONDS
        assert not await observer.fetchval(IS_FREE)
        monkeypatch.setattr("workers.unblocking.STALLED_SECONDS", 0.0)
        await Unblocking(postgres_store).run_once()

        async def is_free() -> bool:
            return bool(await observer.fetchval(IS_FREE))

        await until(is_free)


async def test_idle_transactions_and_listeners_are_not_ended(database_url: str, postgres_store: PostgresStore) -> None:
    async with connected(database_url) as between, connected(database_url) as listener:
        await between.execute("BEGIN")
        await listener.add_listener("news", print)
        assert await ended(postgres_store) == 0
        assert await between.fetchval("SELECT 1") == 1
        assert await listener.fetchval("SELECT 1") == 1


async def test_a_copy_that_waits_for_its_rows_is_not_ended(database_url: str, postgres_store: PostgresStore) -> None:
    async def rows() -> AsyncIterator[tuple[int]]:
        yield (1,)
        assert await ended(postgres_store) == 0
        yield (2,)

    async with connected(database_url) as connection:
        await connection.execute("CREATE TEMPORARY TABLE numbers (number integer)")
        await connection.copy_records_to_table("numbers", records=rows())
        assert await connection.fetchval("SELECT count(*) FROM numbers") == 2
