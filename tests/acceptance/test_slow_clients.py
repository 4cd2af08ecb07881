"""Clients who are slow to ask, or too many, and the API as a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from tests.acceptance.api_process import ApiProcess, api_process
from tests.acceptance.slow_clients import PATIENCE_SECONDS, connected, get, post

NOWHERE = "postgresql+asyncpg://icm:icm@127.0.0.1:1/icm"
IMPATIENT = {
    "ICM_SERVER__HEADER_SECONDS": "0.3",
    "ICM_SERVER__BODY_SECONDS": "1.5",
    "ICM_SERVER__MIN_BYTES": "1000",
    "ICM_SERVER__MIN_FREE_BYTES": str(10**18),
}
FORM = "Content-Type: multipart/form-data; boundary=x"
FORM_BEGINNING = '--x\r\nContent-Disposition: form-data; name="dataset"; filename="a"\r\n\r\n'
TOO_SLOW = (408, "close", "urn:icm:problem:request-too-slow")


@pytest.fixture(scope="module")
async def api(anyio_backend: str) -> AsyncIterator[ApiProcess]:
    """An API without a database, which no request of these tests reaches."""
    async with api_process(NOWHERE, ready=False, settings=IMPATIENT) as running:
        yield running


def port(api: ApiProcess) -> int:
    found = api.client.base_url.port
    assert found is not None
    return found


def problem_of(answer: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and problem document of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert headers["content-type"] == "application/problem+json"
    return int(first.split()[1]), headers, orjson.loads(body)


async def test_a_silent_client_is_disconnected(api: ApiProcess) -> None:
    async with connected(port(api)) as client:
        assert await client.everything() == b""


@pytest.mark.parametrize("beginning", ["GET", "GET /v1/jobs HTTP/1.1\r\nHost: a\r\nX-A: "], ids=["line", "headers"])
async def test_a_head_that_drips_is_answered_408(api: ApiProcess, beginning: str) -> None:
    async with connected(port(api)) as client:
        await client.send(beginning)
        dripping = asyncio.create_task(client.drip("a", 0.05))
        status, headers, body = problem_of(await client.everything())
        await asyncio.wait_for(dripping, PATIENCE_SECONDS)
    assert (status, headers["connection"], body["type"]) == TOO_SLOW


@pytest.mark.parametrize(
    "head",
    [
        post("/v1/jobs", FORM, "Content-Length: 500000") + FORM_BEGINNING,
        post("/v1/jobs", "Content-Type: application/json", "Content-Length: 500000"),
    ],
    ids=["form", "json"],
)
async def test_a_body_that_drips_is_answered_408(api: ApiProcess, head: str) -> None:
    async with connected(port(api)) as client:
        await client.send(head)
        dripping = asyncio.create_task(client.drip("a", 0.05))
        status, headers, body = problem_of(await client.everything())
        await asyncio.wait_for(dripping, PATIENCE_SECONDS)
    assert (status, headers["connection"], body["type"]) == TOO_SLOW


async def test_a_body_that_is_slow_but_moves_is_read_to_its_end(api: ApiProcess) -> None:
    async with connected(port(api)) as client:
        await client.send(post("/v1/jobs", "Content-Type: application/json", "Content-Length: 6000"))
        for _ in range(6):
            await asyncio.sleep(0.35)  # longer in all than the server waits, in which each second brings enough
            await client.send(" " * 1_000)
        assert (await client.read()).startswith(b"HTTP/1.1 422 ")  # it is no JSON


@pytest.mark.parametrize("asks_first", [True, False], ids=["expect", "at-once"])
async def test_a_body_that_is_declared_too_large_is_refused_before_it_is_read(
    api: ApiProcess, *, asks_first: bool
) -> None:
    expect = ["Expect: 100-continue"] if asks_first else []
    async with connected(port(api)) as client:
        await client.send(post("/v1/jobs", FORM, "Content-Length: 9000000000", *expect))
        status, _, body = problem_of(await client.answer())
    assert (status, body["type"]) == (413, "urn:icm:problem:payload-too-large")


async def test_a_client_that_expects_100_gets_it_if_the_body_is_wanted(api: ApiProcess) -> None:
    async with connected(port(api)) as client:
        head = post("/v1/jobs", "Content-Type: application/json", "Content-Length: 2", "Expect: 100-continue")
        await client.send(head)
        assert (await client.read()).startswith(b"HTTP/1.1 100 ")
        await client.send("{}")
        assert (await client.read()).startswith(b"HTTP/1.1 422 ")


async def test_a_request_that_is_no_http_is_answered_with_a_problem(api: ApiProcess) -> None:
    async with connected(port(api)) as client:
        await client.send("NONSENSE\r\n\r\n")
        status, _, body = problem_of(await client.everything())
    assert (status, body["type"]) == (400, "urn:icm:problem:bad-request")


async def test_an_upload_for_which_the_disk_has_no_room_is_refused_before_it_is_read(api: ApiProcess) -> None:
    async with connected(port(api)) as client:
        await client.send(post("/v1/jobs", FORM, "Content-Length: 2000000"))
        status, headers, body = problem_of(await client.answer())
    assert (status, headers["retry-after"], body["type"]) == (507, "5", "urn:icm:problem:spool-full")


async def test_a_connection_over_the_limit_gets_503_except_for_health() -> None:
    settings = {"ICM_SERVER__MAX_CONNECTIONS": "3"}
    async with api_process(NOWHERE, ready=False, settings=settings) as api, AsyncExitStack() as stack:
        for _ in range(3):
            client = await stack.enter_async_context(connected(port(api)))
            await client.send(get("/health/live"))
            assert (await client.read()).startswith(b"HTTP/1.1 200 ")
            await client.send("GET")  # from now on it is a connection in use
        one_more = await stack.enter_async_context(connected(port(api)))
        await one_more.send(get("/v1/jobs"))
        status, headers, body = problem_of(await one_more.everything())
        assert (status, body["type"]) == (503, "urn:icm:problem:overloaded")
        assert (headers["retry-after"], headers["connection"]) == ("5", "close")
        another = await stack.enter_async_context(connected(port(api)))
        await another.send(get("/health/live"))
        assert (await another.read()).startswith(b"HTTP/1.1 200 ")
