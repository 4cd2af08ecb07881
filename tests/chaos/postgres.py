"""Our own Postgres server, which tests kill and restart."""

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from icm.local_stack.embedded_postgres import EmbeddedPostgres, reachable_root
from service.storage.engine import driver_address
from tests.support.databases import scratch_folder
from tests.support.running.processes import PATIENCE_SECONDS, until

_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class CrashingPostgres:
    """A durable server over one folder. Committed data must survive every way to end it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._server = EmbeddedPostgres(root)
        self._server.start()
        self.url = self._server.url

    @property
    def address(self) -> str:
        """The address for asyncpg."""
        return driver_address(self.url)

    def end_abruptly(self, how: signal.Signals) -> None:
        """Kill the postmaster, or let it shut down without a checkpoint, and start it again.

        Its children end once they notice; while one of them lives, no other server may use the folder.
        """
        postmaster = psutil.Process(int((self._root / "data" / "postmaster.pid").read_text().split("\n", 1)[0]))
        family = [postmaster, *postmaster.children(recursive=True)]
        os.kill(postmaster.pid, how)
        _, alive = psutil.wait_procs(family[1:], timeout=PATIENCE_SECONDS)
        assert not alive, "a Postgres backend outlived its server"
        self._server.stop()
        self._server.start()

    def stop(self) -> None:
        """Stop the server in an orderly way."""
        self._server.stop()


@contextmanager
def crashing_postgres() -> Iterator[CrashingPostgres]:
    """A new server that is removed with its data afterwards."""
    root = reachable_root(scratch_folder() / f"icm-chaos-{uuid.uuid4().hex[:12]}")
    try:
        server = CrashingPostgres(root)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


class Observer:
    """Queries the database, and repeats a query while the server is down."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """The rows, once the server can be reached. The query must be repeatable."""
        found: list[asyncpg.Record] = []

        async def answered() -> bool:
            nonlocal found
            try:
                found = await self._fetch(query, values)
            except _AWAY:
                return False
            return True

        await until(answered)
        return found

    async def connection(self) -> asyncpg.Connection:
        """A connection that answers."""
        await self.fetch("SELECT 1")
        return self._connection

    async def own_pid(self) -> int:
        """The process id of our session's backend."""
        return int((await self.fetch("SELECT pg_backend_pid()"))[0][0])

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.terminate()

    async def _fetch(self, query: str, values: tuple[Any, ...]) -> list[asyncpg.Record]:
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._address, timeout=5.0)
            found: list[asyncpg.Record] = await self._connection.fetch(query, *values, timeout=10.0)
            return found
