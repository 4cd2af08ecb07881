"""Heads of requests that two parsers may read differently, and heads that are too long."""

import socket

import httpx
import pytest

from api.edge.limits import MAX_HEAD_BYTES
from tests.support.inference.served import served
from tests.support.running.harness import Service
from tests.support.stores import ScratchStore

SECOND = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
AMBIGUOUS = {
    "both lengths": b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "both lengths, the other way round": b"POST /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    "chunks of an old version": b"POST /v1/jobs HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked",
    "of a path that is open": b"GET /health/live HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
}


def answers_to(url: str, request: bytes) -> bytes:
    """All bytes until the server closes the connection."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
        connection.sendall(request)
        answered = b""
        while part := connection.recv(65536):
            answered += part
        return answered


async def test_a_request_with_two_ends_is_the_last_of_its_connection() -> None:
    with served(Service(ScratchStore()).app) as url:
        for name, head in AMBIGUOUS.items():
            answered = answers_to(url, head + b"\r\nHost: localhost\r\n\r\n0\r\n\r\n" + SECOND)
            assert answered.count(b"HTTP/1.1 ") == 1, name
            assert answered.startswith(b"HTTP/1.1 400 "), name
            assert b"application/problem+json" in answered


async def test_a_head_that_comes_at_once_is_bounded_like_one_in_pieces() -> None:
    with served(Service(ScratchStore()).app) as url:
        head = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
        answered = answers_to(url, head + b"x: y\r\n" * 10_000 + b"\r\n" + SECOND)
    assert answered.startswith(b"HTTP/1.1 431 ")
    assert answered.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("headers", "query"),
    [({"x": "y" * MAX_HEAD_BYTES}, ""), ({}, "q=" + "y" * MAX_HEAD_BYTES)],
    ids=["header", "address"],
)
async def test_one_long_header_and_a_long_address_are_refused(
    service: Service, headers: dict[str, str], query: str
) -> None:
    answer = await service.client.get(f"/health/live?{query}", headers=headers)
    assert (answer.status_code, answer.headers["Connection"]) == (431, "close")
    assert answer.json()["type"] == "urn:icm:problem:request-header-fields-too-large"


async def test_a_head_within_the_limit_is_read(service: Service) -> None:
    headers = {f"x-{number}": "y" * 100 for number in range(100)}
    assert (await service.client.get("/health/live", headers=headers)).status_code == 200
