"""A real vLLM with the small model: the one at VLLM_URL, or one that we start (`make test-vllm`)."""

import os
from collections.abc import Iterator

import pytest

from benchmarks.vllm_server import vllm_server


@pytest.fixture(scope="session")
def vllm_url() -> Iterator[str]:
    """The server, shared by all tests; it starts once and is gone afterwards."""
    if given := os.environ.get("VLLM_URL"):
        yield given
        return
    with vllm_server() as url:
        yield url
