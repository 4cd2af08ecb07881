"""Fixtures with a tiny random language model, and servers for it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import torch
from fastapi import FastAPI

from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import LanguageModel, Source, load
from inference.settings import Limits
from tests.support.inference.served import served
from tests.support.inference.tiny import save


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Use one thread: tests run concurrently, and more threads would wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> LanguageModel:
    """The language model of `tiny_folder`. Tests leave it as it is; one that changes it loads its own."""
    return load(Source(str(tiny_folder), "cpu"))


@pytest.fixture
def engine(tiny_model: LanguageModel) -> Engine:
    """A new engine without a self-test, which takes most of its start; `test_engine.py` runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference.engine._difference", lambda *_: 0.0)
        return Engine(tiny_model, CacheLimits(4096, 64))


@pytest.fixture
def limits() -> Limits:
    return Limits(max_concurrent_requests=8, max_top_n_tokens=50)


@pytest.fixture
def app(engine: Engine, limits: Limits) -> FastAPI:
    return create_app(engine, limits)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as made,
    ):
        yield made


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """The URL of a real server on a free loopback port."""
    with served(app) as address:
        yield address
