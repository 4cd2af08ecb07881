"""Fixtures for the tests of the wires."""

from collections.abc import Iterator

import pytest

from tests.support.inference.served import served
from tests.unit.scoring.loopback import Loopback


@pytest.fixture(scope="session")
def loopback() -> Iterator[Loopback]:
    """A server on loopback; every test plans its replies."""
    made = Loopback()
    with served(made.app()) as made.url:
        yield made
