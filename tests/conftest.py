"""Fixtures with a real Postgres: one server per test process, an empty database per test."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Generator, Iterator
from functools import cache
from pathlib import Path

import asyncpg
import pytest
import structlog
from hypothesis import HealthCheck, settings

from service.ports.store import Store
from service.storage.engine import driver_address
from service.storage.store import PostgresStore
from tests.long import examples
from tests.support.aging import Aging, aging_postgres
from tests.support.databases import DATABASES, database
from tests.support.reading import read_in_process
from tests.support.stores import ScratchStore, ThriftyStore, close_stores

ROOT = Path(__file__).parent
LONGEST_FIRST = ("chaos", "training", "integration", "acceptance", "fuzz")  # folders that start programs
MAX_CRASHES = 3  # of the stores of the fixtures
YOUNG_OBJECTS = 10_000  # between two looks for garbage; Python's own 700 make thousands of looks in a test


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage only in what tests make: all that is imported and collected stays until the end, and to go
    through it again and again takes seconds of each process."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, 10, 10)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose tests take longest, so that no core waits for the last of them.

    Of several processes of tests, the first gets all of these and alone starts the fork server (`forked.py`); the
    others take over short tests from its end.
    """
    places = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(ROOT).parts[0], len(places)))


def pytest_sessionfinish() -> None:
    """Stop the server, if one runs."""
    close_stores()
    DATABASES.close()


settings.register_profile(
    "short",
    max_examples=examples(settings().max_examples),
    deadline=None,  # no test asserts on time: all of them may run on a busy machine
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("short")


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """Log errors as `service.observability` does. Without configuration, structlog prints every local variable, which
    takes seconds for each error.
    """
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
    """Let HTTP clients share one TLS context for each set of certificates: a new one takes 20 ms, most of the cost of
    a client, and most tests of wires create some for plain HTTP alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run tests on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Run all asynchronous tests in one event loop, so that a fixture can close a store after its test."""
    ThriftyStore.loop = asyncio.get_running_loop()
    yield
    await ThriftyStore.dispose_kept()


@pytest.fixture(autouse=True)
def stores_end() -> Iterator[None]:
    """Close the stores that a test has opened; those of a module's fixtures stay open."""
    number = len(ScratchStore.open_stores)
    yield
    close_stores(number)


@pytest.fixture
def reader_without_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read Parquet files and workbooks in the test process."""
    read_in_process(monkeypatch)


@pytest.fixture
def server_url() -> str:
    """The URL of a server on which tests may create databases."""
    return DATABASES.server_url


@pytest.fixture
async def empty_database_url(server_url: str, anyio_backend: str) -> AsyncIterator[str]:
    """A database without tables, for one test alone."""
    async with database(server_url) as url:
        yield url


@pytest.fixture
async def own_database_url(server_url: str, anyio_backend: str) -> AsyncIterator[str]:
    """A migrated database that the test may change, tables included."""
    async with database(server_url, f"TEMPLATE {DATABASES.template} STRATEGY FILE_COPY") as url:
        yield url


@pytest.fixture
def database_url() -> Iterator[str]:
    """An empty, migrated database; other tests use its tables later."""
    url = DATABASES.acquire()
    yield url
    DATABASES.release(url)


@pytest.fixture
async def operator(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to this test's database that does not belong to the service."""
    address = driver_address(database_url)
    connection = await asyncpg.connect(address)
    yield connection
    await connection.close()


@pytest.fixture
async def postgres_store(database_url: str, anyio_backend: str) -> AsyncIterator[PostgresStore]:
    """A store with its own database."""
    store = ThriftyStore(database_url, max_crashes=MAX_CRASHES)
    yield store
    await store.close()


@pytest.fixture
def aging(postgres_store: PostgresStore, database_url: str) -> Aging:
    """The store of this test, whose contents the test can make older."""
    return aging_postgres(postgres_store, database_url)


@pytest.fixture
def store(postgres_store: PostgresStore) -> Store:
    """A store with its own database, typed as the port."""
    return postgres_store
