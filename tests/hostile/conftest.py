from collections.abc import AsyncIterator

import pytest

from tests.support.stores import ScratchStore
from tests.unit.api.harness import Service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """The whole service over a store of its own."""
    service = Service(ScratchStore())
    async with service.client:
        yield service
