import asyncio
import gzip
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
import structlog

from icm.local_stack.free_ports import free_port
from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.scoring.wires.http import JsonHttp
from service.scoring.wires.replies import reading
from tests.support.raw_server import HANG, TRICKLE, RawServer, reply, serving

KEY = "sk-secret-1234"


@asynccontextmanager
async def http_to(
    *plan: bytes, timeout_seconds: float = 10, api_key: str | None = None
) -> AsyncIterator[tuple[JsonHttp, RawServer]]:
    server = RawServer(list(plan))
    async with serving(server) as url:
        http = JsonHttp(url, timeout_seconds=timeout_seconds, connections=4, api_key=api_key)
        try:
            yield http, server
        finally:
            await http.close()


async def test_bodies_travel_as_json_both_ways() -> None:
    prompt = {"prompt": tuple(range(50_000)), "text": "naïve 東京"}
    async with http_to(reply(body=b'{"answer": [-0.5, null, "\\u00e9"]}')) as (http, server):
        assert await http.post("/v1/completions", prompt) == {"answer": [-0.5, None, "é"]}
    head, body = server.requests[0]
    assert head.startswith("POST /v1/completions HTTP/1.1\r\n")
    assert "content-type: application/json" in head.lower()
    assert orjson.loads(body) == {"prompt": list(range(50_000)), "text": "naïve 東京"}


async def test_a_document_is_read_by_get() -> None:
    async with http_to(reply(body=b'{"model_id": "m"}')) as (http, server):
        assert await http.get("/info") == {"model_id": "m"}
    assert server.requests[0][0].startswith("GET /info HTTP/1.1\r\n")


async def test_a_connection_is_used_again() -> None:
    async with http_to(reply(), reply("422 Unprocessable Entity"), reply("500 Error")) as (http, server):
        for _ in range(10):
            try:
                await http.post("/generate", {})
            except BackendError:
                continue
    assert (len(server.requests), server.connections) == (10, 1)


async def test_the_key_travels_as_a_bearer_token() -> None:
    async with http_to(api_key=f"{KEY}\n") as (http, server):
        await http.get("/info")
    assert f"authorization: bearer {KEY}\r\n".lower() in server.requests[0][0].lower()


async def test_without_a_key_no_authorization_is_sent() -> None:
    async with http_to(api_key="") as (http, server):
        await http.get("/info")
    assert "authorization" not in server.requests[0][0].lower()


@pytest.mark.parametrize(
    "answer",
    [
        reply("401 Unauthorized", f"bad key {KEY}".encode()),
        reply("500 Error", f"{KEY} {'x' * 1000}".encode()),
        reply("307 Temporary Redirect", KEY.encode(), {"Location": f"/login?key={KEY}"}),
        reply("200 OK", f"<html>{KEY}".encode()),
        reply("200 OK", KEY.encode(), promised=1000),
    ],
    ids=["refused", "failed", "redirected", "malformed", "cut"],
)
async def test_the_key_is_in_no_error(answer: bytes) -> None:
    async with http_to(answer, api_key=KEY) as (http, _):
        with pytest.raises(BackendError) as raised:
            await http.post("/generate", {"inputs": "x"})
    assert KEY not in str(raised.value)
    assert KEY not in repr(raised.value.__cause__)


@pytest.mark.parametrize("key", ["sk-\n-secret", "sk-ключ", "sk-\x00"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValueError, match="the API key has characters") as raised:
        JsonHttp("http://127.0.0.1:1", timeout_seconds=1, connections=1, api_key=key)
    assert "secret" not in str(raised.value)


async def test_a_password_in_the_url_is_in_no_error() -> None:
    http = JsonHttp(f"http://user:{KEY}@127.0.0.1:{free_port()}", timeout_seconds=1, connections=1)
    with pytest.raises(BackendUnavailable) as raised:
        await http.get("/info")
    await http.close()
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply("429 Too Many Requests"), FailureKind.OVERLOADED),
        (reply("503 Service Unavailable", b"The request queue is full."), FailureKind.OVERLOADED),
        (reply("503 Service Unavailable", b"Loading model"), FailureKind.SERVER),
        (reply("500 Internal Server Error"), FailureKind.SERVER),
        (reply("200 OK", b"{"), FailureKind.MALFORMED),
        (reply("200 OK", b"[" * 100_000), FailureKind.MALFORMED),
        (reply("200 OK", b"\xff\xfe"), FailureKind.MALFORMED),
        (reply("200 OK", b""), FailureKind.MALFORMED),
        (reply("200 OK", b"no gzip", {"Content-Encoding": "gzip"}), FailureKind.MALFORMED),
        (reply("200 OK", b'{"answer"', promised=100), FailureKind.DISCONNECTED),
        (b"\r\n\r\n", FailureKind.DISCONNECTED),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", FailureKind.DISCONNECTED),
    ],
    ids=[
        *("overloaded", "full", "loading", "failed", "cut-json", "deep", "no-text", "empty", "no-gzip"),
        *("cut-body", "no-answer", "no-http"),
    ],
)
async def test_a_failure_is_of_the_kind_it_is(answer: bytes, kind: FailureKind) -> None:
    async with http_to(answer) as (http, _):
        with pytest.raises(BackendUnavailable) as raised:
            await http.post("/generate", {})
        assert raised.value.kind is kind
        told_of_connection = str(raised.value).startswith("/generate: the connection to the inference server broke")
        assert told_of_connection is (kind is FailureKind.DISCONNECTED)
        assert await http.post("/generate", {}) == {}


async def test_infinities_are_read() -> None:
    async with http_to(reply(body=b'{"logprob": -Infinity}')) as (http, _):
        assert await http.get("/info") == {"logprob": -math.inf}


async def test_compressed_answers_are_read() -> None:
    packed = gzip.compress(b'{"answer": 1}', mtime=0)
    async with http_to(reply(body=packed, headers={"Content-Encoding": "gzip"})) as (http, _):
        assert await http.get("/info") == {"answer": 1}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Tue, 24 Nov 2026 12:00:30 GMT", "Date": "Tue, 24 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"Retry-After": "Tue, 24 Nov 2026 12:00:30 GMT"}, None),  # by whose clock?
        ({}, None),
    ],
    ids=["seconds", "date", "date without a clock", "none"],
)
async def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    async with http_to(reply("429 Too Many Requests", headers=headers)) as (http, _):
        with pytest.raises(BackendUnavailable) as raised:
            await http.get("/info")
    assert raised.value.retry_after_seconds == seconds


async def test_a_refusal_quotes_the_server() -> None:
    async with http_to(reply("422 Unprocessable Entity", b"too long")) as (http, _):
        with pytest.raises(BackendRefused, match="/generate answered 422: too long"):
            await http.post("/generate", {})


@pytest.mark.parametrize(
    ("body", "message", "error"),
    [
        (b'{"error": {"message": "out of memory", "code": 500}}', "out of memory", BackendUnavailable),
        (b'{"error": "CUDA error"}', "CUDA error", BackendUnavailable),
        (b'{"error": {"message": "too long", "code": "400"}}', "too long", BackendRefused),
        (b'{"error": {"type": "odd"}}', r'\{"type": "odd"\}', BackendUnavailable),
        (b'[{"error": "out of memory"}]', "out of memory", BackendUnavailable),
        (b'{"object": "error", "message": "too long", "code": 400}', "too long", BackendRefused),
        (b'{"detail": "no model is loaded"}', "no model is loaded", BackendUnavailable),
    ],
)
async def test_an_error_in_a_good_answer_quotes_the_server(
    body: bytes, message: str, error: type[BackendError]
) -> None:
    async with http_to(reply("200 OK", body)) as (http, _):
        with pytest.raises(error, match=f"/generate answered 200 with an error: {message}"):
            await http.post("/generate", {})


@pytest.mark.parametrize(
    ("error", "message"),
    [(KeyError("choices"), "it has no 'choices'"), (TypeError("'NoneType' object"), "a part of it is missing or")],
)
def test_an_incomplete_answer_is_reported_in_plain_words(error: Exception, message: str) -> None:
    with pytest.raises(BackendUnavailable) as raised, reading("/generate"):
        raise error
    assert str(raised.value).startswith(f"/generate gave an answer that cannot be read: {message}")


async def test_an_answer_without_an_error_in_its_error_is_good() -> None:
    async with http_to(reply("200 OK", b'{"error": null, "text": "x"}')) as (http, _):
        assert await http.post("/generate", {}) == {"error": None, "text": "x"}


@pytest.mark.parametrize(("key", "message"), [(None, "api_key is not set"), (KEY, "api_key is not the right one")])
async def test_a_server_that_wants_a_key_says_what_to_set(key: str | None, message: str) -> None:
    async with http_to(reply("401 Unauthorized", b'{"error":"Unauthorized"}'), api_key=key) as (http, _):
        with pytest.raises(BackendRefused, match=message):
            await http.get("/v1/models")


async def test_nobody_listening_is_no_connection_and_the_log_alone_has_the_address() -> None:
    port = free_port()
    http = JsonHttp(f"http://127.0.0.1:{port}", timeout_seconds=1, connections=1)
    with structlog.testing.capture_logs() as logged, pytest.raises(BackendUnavailable) as raised:
        await http.get("/info")
    await http.close()
    assert "127.0.0.1" not in str(raised.value)
    assert str(port) not in str(raised.value)
    assert str(raised.value).startswith("/info: nothing accepts connections at the inference server's address")
    assert [line["server"] for line in logged] == [f"http://127.0.0.1:{port}"]
    assert raised.value.kind is FailureKind.DISCONNECTED


async def test_an_url_that_is_none_is_refused() -> None:
    http = JsonHttp("127.0.0.1:8080", timeout_seconds=1, connections=1)
    with pytest.raises(BackendRefused):
        await http.get("/info")
    await http.close()


@pytest.mark.parametrize("of_the_call", [False, True])
async def test_no_answer_in_time_is_a_time_out_and_ends_the_connection(*, of_the_call: bool) -> None:
    async with http_to(HANG, timeout_seconds=100 if of_the_call else 0.05) as (http, server):
        with pytest.raises(BackendUnavailable, match=r"no answer within 0\.05 s") as raised:
            await http.post("/generate", {}, timeout_seconds=0.05 if of_the_call else None)
        await server.left.wait()
    assert raised.value.kind is FailureKind.TIMED_OUT


async def test_an_answer_that_trickles_is_a_time_out() -> None:
    async with http_to(TRICKLE, timeout_seconds=0.05) as (http, server):
        with pytest.raises(BackendUnavailable) as raised:
            await http.post("/generate", {})
        await server.left.wait()
    assert raised.value.kind is FailureKind.TIMED_OUT
    assert isinstance(raised.value.__cause__, TimeoutError)  # that of the whole answer, not of one piece


async def test_a_server_sees_that_a_call_was_cancelled() -> None:
    async with http_to(HANG) as (http, server):
        call = asyncio.create_task(http.post("/generate", {}))
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.left.wait()
        assert await http.post("/generate", {}) == {}
