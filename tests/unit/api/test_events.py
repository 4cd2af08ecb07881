import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from api.labelling import events
from tests.support.running.harness import Service


def parsed(stream: str) -> list[dict[str, str]]:
    """The events of a stream; comments and the retry line are no events."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in stream.split("\n\n") if block]
    return [block for block in blocks if "event" in block]


async def listed(service: Service, job: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    answer = await service.client.get(
        job["links"]["events"], params={"limit": 1000}, headers={"Accept": "application/json", **headers}
    )
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def test_a_finished_jobs_stream_gives_every_event_and_ends(
    shared_service: Service, finished_job: dict[str, Any]
) -> None:
    link = finished_job["links"]["events"]
    answer = await shared_service.client.get(link, headers={"Accept": "text/event-stream"})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.text.startswith("retry: ")
    found = parsed(answer.text)
    assert [int(event["id"]) for event in found] == list(range(1, len(found) + 1))
    assert found[-1]["event"] == "job.succeeded"
    assert [orjson.loads(event["data"]) for event in found] == await listed(shared_service, finished_job)


async def test_a_stream_continues_after_the_last_event_id(
    shared_service: Service, finished_job: dict[str, Any]
) -> None:
    everything = await listed(shared_service, finished_job)
    answer = await shared_service.client.get(finished_job["links"]["events"], headers={"Last-Event-ID": "2"})
    assert [int(event["id"]) for event in parsed(answer.text)] == [event["id"] for event in everything[2:]]
    for last, rest in (("2", everything[2:]), (str(len(everything)), []), ("9" * 19, [])):
        assert await listed(shared_service, finished_job, **{"Last-Event-ID": last}) == rest, last


async def test_events_as_json_come_page_by_page(shared_service: Service, finished_job: dict[str, Any]) -> None:
    answer = await shared_service.client.get(
        finished_job["links"]["events"], params={"limit": 1}, headers={"Accept": "application/json"}
    )
    assert (len(answer.json()["data"]), answer.json()["has_more"]) == (1, True)


async def test_a_stream_follows_a_job_to_its_end(service: Service) -> None:
    job = await service.post(method="zero_shot")
    stream = asyncio.create_task(service.client.get(job["links"]["events"]))
    await asyncio.sleep(0)
    await service.work()
    found = parsed((await asyncio.wait_for(stream, 30)).text)
    assert found[-1]["event"] == "job.succeeded"


async def test_a_stream_ends_when_the_server_stops(service: Service) -> None:
    job = await service.post()
    stream = asyncio.create_task(service.client.get(job["links"]["events"]))
    await asyncio.sleep(0)
    service.app.state.stopping.set()
    answer = await asyncio.wait_for(stream, 10)
    assert answer.status_code == 200
    assert (await service.get(job["id"]))["status"] == "queued"


async def test_a_quiet_stream_is_kept_alive_by_comments(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEPALIVE_SECONDS", 0.01)
    job = await service.post(method="zero_shot")
    stream = asyncio.create_task(service.client.get(job["links"]["events"]))
    await asyncio.sleep(0.2)
    await service.work()
    assert ": ping" in (await asyncio.wait_for(stream, 30)).text


async def test_an_event_id_that_is_none_is_refused(shared_service: Service, finished_job: dict[str, Any]) -> None:
    for last in ("-1", "x", "1.5", "9" * 30, "٣"):
        for accept in (b"text/event-stream", b"application/json"):
            headers = {b"Last-Event-ID": last.encode(), b"Accept": accept}
            answer = await shared_service.client.get(finished_job["links"]["events"], headers=headers)
            assert answer.status_code == 400, (last, accept)


async def test_events_of_an_unknown_job_are_not_found(service: Service) -> None:
    link = f"/v1/jobs/job_{'0' * 32}/events"
    for accept in ("text/event-stream", "application/json"):
        assert (await service.client.get(link, headers={"Accept": accept})).status_code == 404


async def test_a_reader_who_returns_after_the_log_was_shortened_gets_the_rest_and_the_end(service: Service) -> None:
    job = await service.labelled()
    async with service.store.maintenance_unit() as unit:
        await unit.shorten_event_logs(timedelta(), at_most=1000)
    for last_seen, left in (
        ("0", ["job.created", "shard.finished", "job.succeeded"]),
        ("2", ["shard.finished", "job.succeeded"]),
    ):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": last_seen}
        found = parsed((await service.client.get(job["links"]["events"], headers=headers)).text)
        assert [event["event"] for event in found] == left
