from collections.abc import AsyncIterator

import pytest

from service.storage.memory import MemoryStore
from tests.unit.api.harness import Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    store = MemoryStore()
    service = Service(store)
    async with service.client:
        yield service
    await store.close()
