import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm import async_client, client
from icm.documents import Event
from icm.sse import EventCursor, EventDecoder
from tests.unit.icm.fake_service import FakeService, job_answer


def encoded(sequence: int, kind: str, text: str = "x") -> bytes:
    body = json.dumps({"id": sequence, "type": kind, "data": {"text": text}}, ensure_ascii=False)
    return f"event: {kind}\ndata: {body}\nid: {sequence}\n\n".encode()


def stream(*events: bytes) -> httpx.Response:
    return httpx.Response(200, content=b"retry: 2000\n\n" + b"".join(events))


@pytest.fixture
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RECONNECT_SECONDS", 0)
    monkeypatch.setattr(async_client, "RECONNECT_SECONDS", 0)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.integers(1, 7), st.sampled_from(["\n", "\r\n"]))
def test_events_come_out_the_same_however_the_bytes_are_cut(texts: list[str], size: int, line_end: str) -> None:
    raw = b": hello\n" + b"".join(encoded(n, "progress", text) for n, text in enumerate(texts, 1))
    raw = raw.replace(b"\n", line_end.encode())
    decoder = EventDecoder()
    found = [event for start in range(0, len(raw), size) for event in decoder.feed(raw[start : start + size])]
    assert found == [Event(id=n, type="progress", data={"text": text}) for n, text in enumerate(texts, 1)]


MANY_DIGITS, DEEP = b"id: " + b"9" * 5_000 + b"\n", b"[" * 100_000
# What streams are made of, and what proxies and broken servers may put into them.
LINES = [b"id: 1", b"id: 2", "id: ²".encode(), b"event: a", b"data: {}", b'data: {"data": {"text": "x"}}']
NO_EVENTS = [b"data: [1]", b'data: {"data": 1}', b"data: {", b"data: " + DEEP, MANY_DIGITS, b":", b"id", b"\0"]
CUT = [b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xc3", b"\xff", "\u2028".encode()]
PIECES = st.sampled_from([*(line + b"\n" for line in LINES), *NO_EVENTS, *CUT])
STREAMS = st.lists(PIECES | st.binary(max_size=4), max_size=12).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 40), max_size=20))
def test_any_bytes_at_all_give_the_same_events_however_they_are_cut(raw: bytes, sizes: list[int]) -> None:
    decoder, rest = EventDecoder(), raw
    found: list[Event] = []
    for size in sizes:
        found += decoder.feed(rest[:size])
        rest = rest[size:]
    found += decoder.feed(rest)
    assert found == list(EventDecoder().feed(raw))


@pytest.mark.parametrize(
    "noise",
    [
        b"<html>",
        b"\xff\xfe",
        b"id: 1\ndata: <html>",
        b"id: 1\ndata: 7",
        b'id: 1\ndata: {"data": 7}',
        "id: ²\ndata: {}".encode(),
        MANY_DIGITS + b"data: {}",
        b"id: 1\ndata: " + DEEP,
    ],
    ids=["text", "no UTF-8", "no JSON", "no document", "no data", "odd digits", "many digits", "depth"],
)
def test_unknown_events_are_skipped_and_later_ones_are_not(noise: bytes) -> None:
    assert list(EventDecoder().feed(noise + b"\n\n" + encoded(2, "progress"))) == [
        Event(id=2, type="progress", data={"text": "x"})
    ]


def test_a_byte_order_mark_at_the_beginning_is_passed_over() -> None:
    assert [event.id for event in EventDecoder().feed(b"\xef\xbb\xbf" + encoded(1, "a"))] == [1]


def test_comments_and_events_without_an_id_are_left_out() -> None:
    assert list(EventDecoder().feed(b": ping\n\nretry: 5\n\ndata: {}\n\n")) == []


def test_an_event_seen_before_is_not_given_again() -> None:
    cursor = EventCursor(after=1)
    assert cursor.connect(job_is_final=False)["Last-Event-ID"] == "1"
    assert [event.id for event in cursor.feed(encoded(1, "a") + encoded(2, "b"))] == [2]
    assert cursor.connect(job_is_final=True)["Last-Event-ID"] == "2"


@pytest.mark.usefixtures("_no_pause")
def test_events_are_followed_over_a_closed_connection_to_the_last_one() -> None:
    service = FakeService(
        job_answer("running"),
        stream(encoded(1, "created"), encoded(2, "progress")),
        job_answer("succeeded"),
        stream(encoded(3, "succeeded")),
    )
    with service.client() as connected:
        found = [(event.id, event.type) for event in connected.events("job_1")]
    assert found == [(1, "created"), (2, "progress"), (3, "succeeded")]
    assert "Last-Event-ID" not in service.requests[1].headers
    assert service.requests[3].headers["Last-Event-ID"] == "2"


@pytest.mark.usefixtures("_no_pause")
def test_a_lost_connection_is_replaced() -> None:
    service = FakeService(
        job_answer("succeeded"), httpx.ReadError("lost"), job_answer("succeeded"), stream(encoded(1, "succeeded"))
    )
    with service.client() as connected:
        assert [event.id for event in connected.events("job_1")] == [1]


@pytest.mark.usefixtures("_no_pause")
async def test_events_are_followed_asynchronously() -> None:
    service = FakeService(
        job_answer("running"), stream(encoded(1, "created")), job_answer("succeeded"), stream(encoded(2, "succeeded"))
    )
    async with service.async_client() as connected:
        assert [event.id async for event in connected.events("job_1")] == [1, 2]
