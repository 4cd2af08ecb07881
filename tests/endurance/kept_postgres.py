"""An embedded Postgres under its supervisor, and the faults that a test may inflict on it."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil

from icm.local_stack.disk_reserve import DiskReserve
from icm.local_stack.embedded_postgres import EmbeddedPostgres
from icm.local_stack.postgres_supervisor import PostgresSupervisor
from migrations.commands import upgrade
from service.storage.engine import driver_address

PATIENCE_SECONDS = 100.0
CHECK_SECONDS = 0.02


@dataclass
class KeptPostgres:
    """The server, its supervisor, and the supervisor's notices."""

    server: EmbeddedPostgres
    keeper: PostgresSupervisor
    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The server's main process."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split("\n")[0])

    async def connect(self) -> asyncpg.Connection:
        """A connection for the operator."""
        address = driver_address(self.server.url)
        return await asyncpg.connect(address)

    async def query(self, statement: str) -> object:
        """The first value of a statement's result."""
        connection = await self.connect()
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def kill_server(self) -> None:
        """Kill the server, as the kernel does when memory runs out."""
        await self._end(signal.SIGKILL)

    async def shut_down(self) -> None:
        """Shut the server down at once."""
        await self._end(signal.SIGQUIT)

    async def kill_backend(self) -> None:
        """Kill one session's process; Postgres then ends all others and recovers."""
        victim, bystander = await self.connect(), await self.connect()
        os.kill(await victim.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        await self.until(bystander.is_closed)
        victim.terminate()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop every process of the server within the block."""
        parent = psutil.Process(self.pid)
        processes = [parent, *parent.children(recursive=True)]
        try:
            for process in processes:
                process.suspend()
            yield
        finally:
            for process in processes:
                process.resume()

    async def _end(self, how: signal.Signals) -> None:
        pid = self.pid
        os.kill(pid, how)
        await self.until(lambda: not psutil.pid_exists(pid))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition is true."""

        async def holds() -> bool:
            return condition()

        await until(holds)


async def until(condition: Callable[[], Awaitable[bool]]) -> float:
    """Poll until the condition holds; returns the seconds it took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < PATIENCE_SECONDS, "waited for too long"
        await asyncio.sleep(CHECK_SECONDS)
    return time.monotonic() - began


@asynccontextmanager
async def kept_postgres(*, durable: bool = False, migrated: bool = True) -> AsyncIterator[KeptPostgres]:
    """A server under its supervisor within the block."""
    folder = Path(tempfile.gettempdir()) / f"icm-test-{uuid.uuid4().hex[:12]}"
    server = EmbeddedPostgres(folder, durable=durable)
    said: list[str] = []
    kept = KeptPostgres(
        server, PostgresSupervisor(server, DiskReserve(folder, size_bytes=0), said.append), folder, said
    )
    try:
        kept.keeper.start()
        if migrated:
            await upgrade(server.url)
        keeping = asyncio.create_task(_keep(kept.keeper))
        try:
            yield kept
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _keep(keeper: PostgresSupervisor) -> None:
    while True:
        keeper.check()
        await asyncio.sleep(CHECK_SECONDS)
