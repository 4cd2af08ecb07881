"""Runs `icm` commands in a test's process against the service of that test."""

import asyncio
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import httpx
import pytest
import structlog
from typer.testing import CliRunner, Result

from icm import Client, RetryPolicy
from icm.cli import build_app
from tests.support.running.harness import Service

IMPATIENT = RetryPolicy(attempts=3, first_delay_seconds=0.0, longest_delay_seconds=0.0)

Command = Callable[..., Coroutine[Any, Any, Result]]


class Bridge(httpx.BaseTransport):
    """Lets a blocking client in another thread speak to the service in this one's event loop."""

    def __init__(self, service: Service) -> None:
        self._loop = asyncio.get_running_loop()
        self._service = service

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sending = self._service.client.request(
            request.method, str(request.url), content=request.read(), headers=request.headers
        )
        answer = asyncio.run_coroutine_threadsafe(sending, self._loop).result(60)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def command_on(service: Service, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> Command:
    """A function that runs a command by its words; the clients of these command modules speak to the service."""
    bridge = Bridge(service)
    for module in modules:
        monkeypatch.setattr(
            module, "Client", lambda _url, api_key: Client("http://localhost", transport=bridge, retries=IMPATIENT)
        )

    async def run(*words: str) -> Result:
        with structlog.testing.capture_logs():  # the service's log lines, which would mix with the command's output
            return await asyncio.to_thread(lambda: CliRunner().invoke(build_app(), words, env={"COLUMNS": "250"}))

    return run
