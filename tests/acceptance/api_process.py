"""The API as operators run it: a process of its own over a real Postgres."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 60.0


@dataclass
class ApiProcess:
    """A running API, and a client of it."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient

    async def terminate(self) -> int:
        """Ask it to stop, as supervisors do; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def api_process(
    database_url: str, *, ready: bool = True, log: Path | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[ApiProcess]:
    """Started with the deterministic backend; ready, or at least alive; what it logs may go into a file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "ICM_DATABASE_URL": database_url,
        "ICM_PORT": str(port),
        "ICM_BACKENDS": json.dumps([{"name": "default", "kind": "deterministic"}]),
        **(settings or {}),
    }
    with ExitStack() as files:
        output = None if log is None else files.enter_context(log.open("wb"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api", env=environment, stdout=output, stderr=output
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=110) as client:
            await asyncio.wait_for(_answers(client, "/health/ready" if ready else "/health/live"), START_SECONDS)
            yield ApiProcess(process, client)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answers(client: httpx.AsyncClient, path: str) -> None:
    while True:
        try:
            if (await client.get(path)).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
