"""Lends tests empty, migrated databases on one Postgres server of this process.

It creates a database once and empties it for each use, since creating takes a quarter of a second and emptying
milliseconds. Tests can move the databases' clock (`tests.support.stores`).
"""

import asyncio
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import make_url

from icm.local_stack.embedded_postgres import EmbeddedPostgres, reachable_root
from migrations.commands import upgrade
from service.identifiers import DEFAULT_PROJECT
from service.storage.engine import driver_address
from service.storage.tables import metadata

SCRATCH_BYTES = 2_000_000_000
PATIENCE_SECONDS = 60.0

T = TypeVar("T")

# The search path names this schema before pg_catalog, so these replace `now()` and `clock_timestamp()`.
_CLOCK = """
CREATE SCHEMA moved;
CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(nullif(current_setting('tests.moment', true), '')::timestamptz, pg_catalog.clock_timestamp())
$$;
CREATE FUNCTION moved.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('tests.moment', true), '')::timestamptz, pg_catalog.now())
$$;
DO $$ DECLARE found record; BEGIN
    FOR found IN SELECT table_name, column_name, column_default FROM information_schema.columns
        WHERE table_schema = 'public' AND column_default IN ('now()', 'clock_timestamp()')
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER %I SET DEFAULT moved.%s',
                       found.table_name, found.column_name, found.column_default);
    END LOOP;
END $$;
"""
# How many transactions wait for a lock.
WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE datname = current_database() AND NOT granted
"""
_END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL ($1)
"""
_EMPTY = ";".join(
    (
        *(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)),  # noqa: S608 - our tables
        "SELECT setval(format('%I', sequencename)::regclass, 1, false) FROM pg_sequences WHERE schemaname = 'public'",
        f"INSERT INTO projects (name) VALUES ('{DEFAULT_PROJECT}')",  # noqa: S608 - our project
    )
)


class Databases:
    """One server, and its databases that no test is using."""

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._free: list[str] = []
        self._connections: dict[str, asyncpg.Connection] = {}  # that empty the databases
        self._spared: dict[str, set[int]] = {}

    @cached_property
    def server_url(self) -> str:
        """The URL of the server: TEST_DATABASE_URL, or an embedded one that this property starts."""
        if given := os.environ.get("TEST_DATABASE_URL"):
            return given
        root = reachable_root(scratch_folder() / f"icm-test-{uuid.uuid4().hex[:12]}")
        self._resources.callback(shutil.rmtree, root, ignore_errors=True)
        return self._resources.enter_context(EmbeddedPostgres(root, durable=False)).url

    @cached_property
    def template(self) -> str:
        """The name of the database to clone, which the real migrations have created."""
        name = f"icm_{uuid.uuid4().hex}"
        self._run(_create(self.server_url, name))
        self._drop_in_the_end(name)
        return name

    def acquire(self) -> str:
        """Reserve an empty database with all tables until `release`; returns its URL."""
        url = self._free.pop() if self._free else self._clone()
        self._run(self._empty(url))
        return url

    def spare(self, url: str, pid: int) -> None:
        """Keep this server process alive when the database is emptied: the next user has its connection."""
        self._spared.setdefault(url, set()).add(pid)

    def release(self, url: str) -> None:
        """Release the database; the next `acquire` empties it."""
        self._free.append(url)

    def close(self) -> None:
        """Stop the embedded server, if this process started one."""
        while self._connections:
            self._run(self._connections.popitem()[1].close())
        self._resources.close()

    def _clone(self) -> str:
        """Clone the template; this thread starts the server first, since the server ends with its thread."""
        server, template, name = self.server_url, self.template, f"icm_{uuid.uuid4().hex}"
        self._run(execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
        self._drop_in_the_end(name)
        self._run(execute(in_database(server, name), _CLOCK))
        return in_database(server, name)

    async def _empty(self, url: str) -> None:
        """Empty the database and end connections of earlier tests, which may have cut our own connection, too."""
        try:
            await self._connections[url].execute("SELECT 1")
        except (KeyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connections[url] = await asyncpg.connect(driver_address(url))
        connection = self._connections[url]
        await connection.execute(_END_OTHERS, self._spared.get(url, set()))
        await connection.execute(_EMPTY)

    def _drop_in_the_end(self, name: str) -> None:
        """Drop the database in the end if the server is not ours; our own one goes with all its databases."""
        if os.environ.get("TEST_DATABASE_URL"):
            dropping = f"DROP DATABASE {name} WITH (FORCE)"
            self._resources.callback(lambda: self._run(execute(self.server_url, dropping)))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, whether or not an event loop runs in this thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        self._resources.callback(loop.call_soon_threadsafe, loop.stop)
        return loop


DATABASES = Databases()


@asynccontextmanager
async def database(server_url: str, options: str = "") -> AsyncIterator[str]:
    """Create a database and drop it in the end; yields its URL."""
    name = f"icm_{uuid.uuid4().hex}"
    await execute(server_url, f"CREATE DATABASE {name} {options}")
    try:
        yield in_database(server_url, name)
    finally:
        await execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def execute(url: str, statements: str) -> None:
    """Run statements outside of any transaction."""
    address = driver_address(url)
    connection = await asyncpg.connect(address)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


def in_database(server_url: str, name: str) -> str:
    """The URL of a database on the same server."""
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


async def _create(server_url: str, name: str) -> None:
    await execute(server_url, f"CREATE DATABASE {name}")
    await upgrade(in_database(server_url, name))


def scratch_folder() -> Path:
    """A folder for databases: in memory if that is large enough, since cloning databases copies files."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder made in it is private
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > SCRATCH_BYTES:
        return memory
    return Path(tempfile.gettempdir())
