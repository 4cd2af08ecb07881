"""Servers that the tests of the scorers share."""

from collections.abc import Iterator

import pytest

from inference.app import create_app
from inference.settings import Limits
from tests.support.inference.served import served
from tests.support.inference.tiny import engine_of, llama
from tests.unit.scoring.loopback import Loopback


@pytest.fixture(scope="session")
def loopback() -> Iterator[Loopback]:
    """A server on loopback; every test plans its replies."""
    made = Loopback()
    with served(made.app()) as made.url:
        yield made


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    """The real embedded server over a tiny language model."""
    with served(create_app(engine_of(llama()), Limits(max_top_n_tokens=400))) as url:
        yield url
