"""A server on loopback that sends planned bytes and observes its connections."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


def reply(
    status: str = "200 OK",
    body: bytes = b"{}",
    headers: Mapping[str, str] | None = None,
    *,
    promised: int | None = None,
) -> bytes:
    """An HTTP answer; with `promised`, its declared length is more than it sends."""
    named = {"Content-Length": str(len(body) if promised is None else promised), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


HANG = b""  # in place of an answer
TRICKLE = reply(promised=10**9)  # sends byte by byte until the client leaves


@dataclass
class RawServer:
    """Gives the replies of `plan` one by one, then `{}`. An answer that is cut short ends its connection."""

    plan: list[bytes] = field(default_factory=list)
    requests: list[tuple[str, bytes]] = field(default_factory=list)  # head and body
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)  # a client has closed its connection

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; returns whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
        self.requests.append((head, await reader.readexactly(int(lengths[0]) if lengths else 0)))
        self.asked.set()
        answer = self.plan.pop(0) if self.plan else reply()
        if answer == HANG:
            await reader.readexactly(1)
        writer.write(answer)
        await writer.drain()
        while answer == TRICKLE:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0)
        head_sent, _, body_sent = answer.partition(b"\r\n\r\n")
        return f"Content-Length: {len(body_sent)}".encode() in head_sent


@asynccontextmanager
async def serving(server: RawServer) -> AsyncIterator[str]:
    """Serve on a free port within the block; yields the URL."""
    connections = set[asyncio.Task[None]]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        await server.serve(reader, writer)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
