"""The worker of most tests of this folder."""

import pytest

from tests.support.running.workplace import Workplace


@pytest.fixture
async def workplace() -> Workplace:
    return Workplace()
