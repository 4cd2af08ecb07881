"""Fixtures with real servers: vLLM (`make test-vllm`), llama.cpp (`make test-llamacpp`).

LIVE_MODEL names the language model: for vLLM a folder or a hub name instead of the small model, for llama.cpp a GGUF
file beside the small model.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.launching import START_SECONDS
from benchmarks.llamacpp_server import assemble_gemma, has_gemma, llamacpp_server
from benchmarks.vllm_server import vllm_server
from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import Source, load
from inference.settings import SMALL_MODEL, Limits
from scripts.write_gguf import write_gguf
from tests.support.inference.served import served

Say = Callable[[str], None]

_FOUND = pytest.StashKey[list[str]]()


def given_model() -> Path | None:
    """The language model that the person who runs the tests has named."""
    given = os.environ.get("LIVE_MODEL")
    return Path(given) if given else None


TIMEOUT_SECONDS = START_SECONDS + 600  # of a test: the first one of a module waits for its server


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Adds a line to what pytest prints at its end: figures for docs/servers."""
    return request.config.stash.setdefault(_FOUND, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures."""
    for line in config.stash.get(_FOUND, []):
        terminalreporter.write_line(line)


@dataclass(frozen=True)
class LiveServer:
    """A real server, and the same language model for the embedded server.

    `steady_nats` is how far a score may differ from the embedded server's, and with batch and cache.
    """

    url: str
    same: Path
    steady_nats: float

    @property
    def is_small(self) -> bool:
        """Whether it has the small model, which knows the demonstration's claims and no film reviews."""
        return self.same == SMALL_MODEL


@pytest.fixture(scope="session")
def vllm() -> Iterator[LiveServer]:
    """The server at VLLM_URL, or one that the tests start once and stop afterwards; in float32."""
    model = given_model() or SMALL_MODEL
    if given := os.environ.get("VLLM_URL"):
        yield LiveServer(given, model, steady_nats=0.001)
        return
    with vllm_server(model=model) as url:
        yield LiveServer(url, model, steady_nats=0.001)


@pytest.fixture(scope="session")
def small_gguf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The small model in float32."""
    file = tmp_path_factory.mktemp("gguf") / "small_model.gguf"
    write_gguf(SMALL_MODEL, file)
    with llamacpp_server(file) as url:
        yield LiveServer(url, SMALL_MODEL, steady_nats=0.02)


@pytest.fixture(scope="session")
def real_gguf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The GGUF file that LIVE_MODEL names, else Gemma 3 270M in Q4_K_M of the package beside the server."""
    if (file := given_model()) is None:
        file = tmp_path_factory.mktemp("gguf") / "gemma.gguf"
        assemble_gemma(file)
    with llamacpp_server(file) as url:
        # Where weights are quantised, llama.cpp rounds activations to 8 bits as well: with weights of 4 bits, one
        # prompt scored alone and beside others differed by 0.42 nats.
        yield LiveServer(url, file, steady_nats=0.5)


@pytest.fixture(scope="session")
def gguf_server(request: pytest.FixtureRequest) -> LiveServer:
    """Each server in turn."""
    server: LiveServer = request.getfixturevalue(request.param)
    return server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of llama.cpp with the small model and, where there is one, with a real language model."""
    if "gguf_server" in metafunc.fixturenames:
        real = ["real_gguf"] if given_model() or has_gemma() else []
        metafunc.parametrize("gguf_server", ["small_gguf", *real], indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each test of the suite for all scorers once: the scorers that it names are all the real server here."""
    once: dict[object, pytest.Item] = {}
    for item in items:
        once.setdefault(_called(item), item)
    items[:] = once.values()


def _called(item: pytest.Item) -> object:
    """The test and its server; of tests in other folders, which pytest passes here as well, every one differs."""
    if Path(__file__).parent not in item.path.parents:
        return item
    servers = item.callspec.params.get("gguf_server") if hasattr(item, "callspec") else None
    return item.path, getattr(item, "originalname", item.name), servers


def _embedded(model: Path) -> Iterator[str]:
    engine = Engine(load(Source(str(model), "cpu")), CacheLimits())
    with served(create_app(engine, Limits())) as url:
        yield url


@pytest.fixture(scope="session")
def vllm_twin_url(vllm: LiveServer) -> Iterator[str]:
    """The embedded server with vLLM's language model, in float32."""
    yield from _embedded(vllm.same)


@pytest.fixture(scope="session")
def gguf_twin_url(gguf_server: LiveServer) -> Iterator[str]:
    """The embedded server with llama.cpp's language model, dequantised to float32."""
    yield from _embedded(gguf_server.same)
