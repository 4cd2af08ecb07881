"""The blocking client has what the asynchronous one has, because a script writes it."""

import pytest

from scripts.write_client import ICM, MODULES, blocking


@pytest.mark.parametrize("source", MODULES)
def test_the_blocking_client_is_the_one_written_from_the_asynchronous_one(source: str) -> None:
    written = (ICM / MODULES[source]).read_text("utf-8")
    assert written == blocking(source), "run `python -m scripts.write_client`"
