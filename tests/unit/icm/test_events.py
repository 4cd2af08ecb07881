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
def test_a_lost_connection_is_made_good() -> None:
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
