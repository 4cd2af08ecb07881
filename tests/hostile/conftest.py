from collections.abc import AsyncIterator

import pytest

from tests.support.running.harness import Service
from tests.support.stores import ScratchStore


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """The whole service with its own store."""
    service = Service(ScratchStore())
    async with service.client:
        yield service
