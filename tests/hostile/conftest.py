from collections.abc import AsyncIterator

import pytest

from service.storage.memory import MemoryStore
from tests.unit.api.harness import Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """The whole service over the twin."""
    service = Service(MemoryStore())
    async with service.client:
        yield service
