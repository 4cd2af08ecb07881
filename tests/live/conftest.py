"""Fixtures with real servers: vLLM with the small model (`make test-vllm`), llama.cpp (`make test-llamacpp`)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.launching import START_SECONDS
from benchmarks.llamacpp_server import assemble_gemma, has_gemma, llamacpp_server
from benchmarks.vllm_server import vllm_server
from inference.settings import SMALL_MODEL
from scripts.write_gguf import write_gguf

TIMEOUT_SECONDS = START_SECONDS + 600  # of a test: the first one of a module waits for its server


@pytest.fixture(scope="session")
def vllm_url() -> Iterator[str]:
    """The server at VLLM_URL, or one that the tests start once and stop afterwards."""
    if given := os.environ.get("VLLM_URL"):
        yield given
        return
    with vllm_server() as url:
        yield url


@dataclass(frozen=True)
class GgufServer:
    """A llama.cpp server, and the same language model for the embedded server.

    `steady_nats` is how far a score may move with the batch and the cache: where weights are
    quantised, llama.cpp rounds activations to 8 bits as well (0.07 nats were seen).
    """

    url: str
    same: Path
    steady_nats: float


@pytest.fixture(scope="session")
def small_gguf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GgufServer]:
    """The small model in float32."""
    file = tmp_path_factory.mktemp("gguf") / "small_model.gguf"
    write_gguf(SMALL_MODEL, file)
    with llamacpp_server(file) as url:
        yield GgufServer(url, SMALL_MODEL, steady_nats=0.02)


@pytest.fixture(scope="session")
def gemma_gguf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GgufServer]:
    """Gemma 3 270M in Q4_K_M, if its package is installed beside the server (`make test-llamacpp GEMMA=yes`)."""
    file = tmp_path_factory.mktemp("gguf") / "gemma.gguf"
    assemble_gemma(file)
    with llamacpp_server(file) as url:
        # With weights of 4 bits, one prompt scored alone and beside others differed by 0.42 nats.
        yield GgufServer(url, file, steady_nats=0.5)


@pytest.fixture(scope="session", params=["small_gguf", *(["gemma_gguf"] if has_gemma() else [])])
def gguf_server(request: pytest.FixtureRequest) -> GgufServer:
    """Each server in turn."""
    server: GgufServer = request.getfixturevalue(request.param)
    return server
