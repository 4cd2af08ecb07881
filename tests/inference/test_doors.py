"""The inference server refuses requests of web pages that a browser on this machine has open."""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from inference.app import create_app
from inference.engine import Engine
from inference.settings import Limits, read_settings
from inference.wires.hosts import AllowedHosts
from tests.unit.api.test_heads import answers_to

JSON = {"Content-Type": "application/json"}
ONE_TOKEN = {"inputs": "1 2", "parameters": {"max_new_tokens": 1}}


def requests_of(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every route, those inside routers included."""
    paths = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    return sorted(paths | {(m, r.path) for r in app.routes if isinstance(r, APIRoute) for m in r.methods or ()})


async def test_every_route_refuses_another_host(app: FastAPI, client: httpx.AsyncClient) -> None:
    assert len(requests_of(app)) > 8
    for method, path in requests_of(app):
        answer = await client.request(method, path, headers={**JSON, "Host": "evil.example"}, content=b"{}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (421, "application/problem+json"), path
        assert "--allowed-hosts" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_every_route_refuses_a_page_from_elsewhere(
    app: FastAPI, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    for method, path in requests_of(app):
        answer = await client.request(method, path, headers={**JSON, **headers}, content=b"{}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/problem+json"), path


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_every_route_reads_json_only(app: FastAPI, client: httpx.AsyncClient, kind: str) -> None:
    """What browsers send to other sites without asking them first is never JSON."""
    for path in (path for method, path in requests_of(app) if method == "POST"):
        headers = {"Content-Type": kind} if kind else {}
        answer = await client.post(path, headers=headers, content=b'{"inputs": "1 2", "prompt": "1 2"}')
        assert (answer.status_code, answer.headers["Content-Type"]) == (415, "application/problem+json"), path


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}], ids=str)
async def test_programs_and_our_own_pages_are_answered(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    answer = await client.post("/generate", headers={**kind, **headers}, json=ONE_TOKEN)
    assert answer.status_code == 200


async def test_a_request_with_two_ends_is_the_last_of_its_connection(url: str) -> None:
    second = b"GET /info HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    ends = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    answered = answers_to(url, head + ends + second)
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert answered.count(b"HTTP/1.1 ") == 1


async def test_a_head_that_is_too_long_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/info", headers={"x": "y" * 17_000})).status_code == 431


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_no_page_loads_scripts_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_hosts_that_the_command_line_names_are_answered(engine: Engine) -> None:
    settings = read_settings(["--allowed-hosts", "gpu.example.com, *.example.org"])
    app = create_app(engine, Limits(), AllowedHosts(settings.host, settings.allowed_hosts))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for host in ("gpu.example.com:8080", "a.example.org", "127.0.0.1"):
            assert (await client.get("/info", headers={"Host": host})).status_code == 200
        assert (await client.get("/info", headers={"Host": "inference"})).status_code == 421
