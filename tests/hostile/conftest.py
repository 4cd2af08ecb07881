from collections.abc import AsyncIterator

import pytest

from tests.support.stores import ScratchStore
from tests.unit.api.harness import Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """The whole service with its own store."""
    service = Service(ScratchStore())
    async with service.client:
        yield service
