"""A real Postgres for every test that asks for one: a server per test process, a fresh database per test."""

import os
import shutil
import ssl
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import asyncpg
import pytest
import structlog
from hypothesis import settings
from sqlalchemy import make_url

from icm.local_stack.embedded_postgres import EmbeddedPostgres, reachable_root
from migrations.commands import upgrade
from service.ports.store import Store
from service.storage.engine import driver_address
from service.storage.memory import MemoryStore
from service.storage.store import PostgresStore
from tests.long import examples

MAX_CRASHES = 3  # of the stores that tests are given
SCRATCH_BYTES = 2_000_000_000

settings.register_profile("short", max_examples=examples(settings().max_examples))
settings.load_profile("short")


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """Errors are logged as `service.observability` has them. Where nothing is configured, structlog draws them with
    every local variable, which takes seconds for each."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False),
        ]
    )


@pytest.fixture(scope="session", autouse=True)
def shared_tls_contexts() -> Iterator[None]:
    """HTTP clients share one TLS context for each set of certificates: each that is made takes 20 ms, nearly all that a
    client costs, and most tests of wires make some for plain HTTP alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests run on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A server where databases may be made: TEST_DATABASE_URL, or one that we start."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    root = reachable_root(_scratch_folder() / f"icm-test-{uuid.uuid4().hex[:12]}")
    try:
        with EmbeddedPostgres(root, durable=False) as server:
            yield server.url
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
async def migrated_template(server_url: str, anyio_backend: str) -> AsyncIterator[str]:
    """The name of a database made by the real migrations, to be cloned."""
    async with _database(server_url) as name:
        await upgrade(_in_database(server_url, name))
        yield name


@pytest.fixture
async def empty_database_url(server_url: str, anyio_backend: str) -> AsyncIterator[str]:
    """A database of this test's own with nothing in it."""
    async with _database(server_url) as name:
        yield _in_database(server_url, name)


@pytest.fixture
async def database_url(server_url: str, migrated_template: str, anyio_backend: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    async with _database(server_url, f"TEMPLATE {migrated_template} STRATEGY FILE_COPY") as name:
        yield _in_database(server_url, name)


@pytest.fixture
async def operator(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to this test's database that is none of the service's."""
    address = driver_address(database_url)
    connection = await asyncpg.connect(address)
    yield connection
    await connection.close()


@pytest.fixture
async def postgres_store(database_url: str, anyio_backend: str) -> AsyncIterator[PostgresStore]:
    """A store in a database of this test's own."""
    store = PostgresStore(database_url, max_crashes=MAX_CRASHES)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    """The in-memory twin and the store in Postgres, in turn: what holds of one must hold of the other."""
    if request.param == "memory":
        return MemoryStore(max_crashes=MAX_CRASHES)
    postgres: PostgresStore = request.getfixturevalue("postgres_store")
    return postgres


def _scratch_folder() -> Path:
    """A file system in memory where there is a large one, since cloning databases is all about files."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder made in it is private
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > SCRATCH_BYTES:
        return memory
    return Path(tempfile.gettempdir())


@asynccontextmanager
async def _database(server_url: str, options: str = "") -> AsyncIterator[str]:
    name = f"icm_{uuid.uuid4().hex}"
    await _execute(server_url, f"CREATE DATABASE {name} {options}")
    try:
        yield name
    finally:
        await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server_url: str, statement: str) -> None:
    address = driver_address(server_url)
    connection = await asyncpg.connect(address)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _in_database(server_url: str, name: str) -> str:
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)
