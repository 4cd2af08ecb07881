from collections.abc import AsyncIterator

import pytest

from tests.support.running.harness import Service
from tests.support.stores import ScratchStore


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    store = ScratchStore()
    service = Service(store)
    async with service.client:
        yield service
    await store.close()
