"""Slow clients over bare sockets."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE_SECONDS = 60.0
_RECEIVE_BYTES = 4096  # so few that the server soon notices a client that does not read


@asynccontextmanager
async def connected(port: int) -> AsyncIterator["SlowClient"]:
    """Open a connection and send nothing yet."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        yield SlowClient(connection)
    finally:
        connection.close()


class SlowClient:
    """A client that sends and reads exactly what a test says."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @property
    def port(self) -> int:
        """The client's port."""
        found: int = self._connection.getsockname()[1]
        return found

    async def send(self, text: str) -> None:
        """Send this text and no more."""
        await asyncio.get_running_loop().sock_sendall(self._connection, text.encode())

    async def drip(self, text: str, seconds: float) -> None:
        """Send the same text again and again until the server hangs up."""
        try:
            while True:
                await self.send(text)
                await asyncio.sleep(seconds)
        except OSError:
            return

    async def read(self, length: int = 65536) -> bytes:
        """Some of the received bytes; empty after the server has hung up."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.sock_recv(self._connection, length), PATIENCE_SECONDS)
        except ConnectionResetError:
            return b""

    async def answer(self) -> bytes:
        """One whole answer by its declared length; the server may keep the connection open."""
        found = b""
        while not _is_whole(found) and (part := await self.read()):
            found += part
        return found

    async def everything(self) -> bytes:
        """All bytes until the server hangs up."""
        found = b""
        while part := await self.read():
            found += part
        return found


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    declared = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return end != b"" and declared is not None and len(body) >= int(declared[1])


def get(path: str, *headers: str) -> str:
    """A request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""])


def post(path: str, *headers: str) -> str:
    """The head of a request with a body."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""])
