from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.running.harness import Service
from tests.support.stores import ScratchStore


@asynccontextmanager
async def running() -> AsyncIterator[Service]:
    store = ScratchStore()
    service = Service(store)
    async with service.client:
        yield service
    await store.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running() as service:
        yield service


@pytest.fixture(scope="module")
async def shared_service(anyio_backend: str) -> AsyncIterator[Service]:
    """A service for tests of a module that do not disturb one another."""
    async with running() as service:
        yield service


@pytest.fixture(scope="module")
async def finished_job(shared_service: Service) -> dict[str, Any]:
    """A job of 8 rows that has succeeded; tests only read it."""
    return await shared_service.labelled()
