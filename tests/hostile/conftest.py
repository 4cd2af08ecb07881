from collections.abc import AsyncIterator

import pytest

from tests.support.running.harness import Service
from tests.support.stores import ScratchStore


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """The whole service over a store of its own."""
    service = Service(ScratchStore())
    async with service.client:
        yield service
