"""Runs the API as operators do: in a separate process over a real Postgres."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import httpx

from tests.support.forked import end, forked

START_SECONDS = 60.0


@dataclass
class ApiProcess:
    """A running API with a client."""

    process: ForkServerProcess
    client: httpx.AsyncClient

    async def terminate(self) -> int | None:
        """Send SIGTERM; returns the exit code, or None if the process does not end."""
        self.process.terminate()
        await asyncio.to_thread(self.process.join, 30)
        return self.process.exitcode


@asynccontextmanager
async def api_process(
    database_url: str, *, ready: bool = True, log: Path | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[ApiProcess]:
    """Start the API with the deterministic backend until it is ready or at least alive; its log may go to a file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "ICM_DATABASE_URL": database_url,
        "ICM_PORT": str(port),
        "ICM_BACKENDS": json.dumps([{"name": "default", "kind": "deterministic"}]),
        **(settings or {}),
    }
    process = forked("api.__main__", environment=environment, output=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=110) as client:
            await asyncio.wait_for(_answers(client, "/health/ready" if ready else "/health/live"), START_SECONDS)
            yield ApiProcess(process, client)
    finally:
        end(process)


async def _answers(client: httpx.AsyncClient, path: str) -> None:
    while True:
        try:
            if (await client.get(path)).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.02)
