"""A checked address does not stand in for the name: the certificate is that of the name, and so is what TLS asks for.

`receiver.pem` is a certificate for receiver.example that nobody trusts, with its key; it guards nothing.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.records.webhooks import NotDelivered
from service.webhooks.addresses import AddressPolicy
from service.webhooks.http.sender import HttpSender
from tests.support.raw_server import reply

CERTIFICATE = Path(__file__).with_name("receiver.pem")
POLICY = AddressPolicy(allowed=(ipaddress.ip_network("127.0.0.1/32"),))


async def here(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def receiver(asked: list[str]) -> AsyncIterator[int]:
    """A TLS server on loopback; its port. Names that clients ask for are kept."""

    def note(_socket: object, name: str, _context: object) -> None:
        asked.append(name)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply())
            await writer.drain()
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    context.sni_callback = note
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_servers_name_is_sent_and_its_certificate_checked() -> None:
    asked: list[str] = []
    sender = HttpSender(
        POLICY, timeout_seconds=20, resolve=here, trust=ssl.create_default_context(cafile=str(CERTIFICATE))
    )
    async with receiver(asked) as port:
        assert (await sender.post(f"https://receiver.example:{port}/", b"{}", {})).status == 200
        with pytest.raises(NotDelivered) as caught:
            await sender.post(f"https://other.example:{port}/", b"{}", {})
    assert caught.value.reason == "tls_failed"
    assert asked == ["receiver.example", "other.example"]


async def test_a_certificate_that_nobody_trusts_is_not_trusted() -> None:
    sender = HttpSender(POLICY, timeout_seconds=20, resolve=here)
    async with receiver([]) as port:
        with pytest.raises(NotDelivered) as caught:
            await sender.post(f"https://receiver.example:{port}/", b"{}", {})
    assert caught.value.reason == "tls_failed"
