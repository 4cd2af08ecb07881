from collections.abc import AsyncIterator

import pytest

from tests.support.stores import ScratchStore
from tests.unit.api.harness import Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    store = ScratchStore()
    service = Service(store)
    async with service.client:
        yield service
    await store.close()
