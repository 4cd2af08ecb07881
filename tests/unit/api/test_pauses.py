"""Pause and resume over HTTP."""

import asyncio
from typing import Any

from service.records.jobs import ClaimedShard
from tests.support.running.harness import Service
from tests.support.stored import finish, label_state, pause, release, write

ON_REQUEST = {"code": "requested", "message": "paused on request; the job goes on once it is resumed"}


async def asked(service: Service, job: dict[str, Any], what: str) -> dict[str, Any]:
    answer = await service.client.post(job["links"][what])
    assert answer.status_code == 202, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    found: dict[str, Any] = answer.json()
    return found


async def begun(service: Service) -> tuple[dict[str, Any], ClaimedShard]:
    job = await service.post()
    shard = await service.claim()
    assert shard is not None
    return job, shard


async def test_a_job_is_paused_and_resumed_and_then_labelled(service: Service) -> None:
    job = await service.post(method="zero_shot")
    paused = await asked(service, job, "pause")
    assert (paused["status"], paused["error"], paused["progress"]["eta_seconds"]) == ("paused", ON_REQUEST, None)
    await service.work()
    assert (await service.get(job["id"]))["status"] == "paused"
    assert (await asked(service, job, "resume"))["status"] == "queued"
    await service.work()
    assert (await service.get(job["id"]))["status"] == "succeeded"


async def test_asking_again_gives_the_same_answer(service: Service) -> None:
    job, _ = await begun(service)
    assert await asked(service, job, "pause") == await asked(service, job, "pause")
    assert await asked(service, job, "resume") == await asked(service, job, "resume")


async def test_concurrent_pauses_give_one_event(service: Service) -> None:
    job, _ = await begun(service)
    answers = await asyncio.gather(*(asked(service, job, "pause") for _ in range(20)))
    assert {answer["status"] for answer in answers} == {"paused"}
    assert (await event_types(service, job)).count("job.paused") == 1


async def test_a_finished_job_can_no_longer_be_changed(service: Service) -> None:
    job = await service.labelled(method="zero_shot")
    for what in ("pause", "resume", "cancel"):
        answer = await service.client.post(job["links"][what])
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:icm:problem:job-finished"), what


async def test_pauses_and_resumptions_are_in_the_audit_log(service: Service) -> None:
    job = await service.post()
    await asked(service, job, "pause")
    await asked(service, job, "resume")
    async with service.store.access_unit() as unit:
        entries = [(entry.action, entry.target) for entry in await unit.audit.latest(limit=2)]
    assert entries == [("job.resumed", job["id"]), ("job.paused", job["id"])]


async def test_a_paused_job_has_no_result_yet_but_shows_its_labels_and_a_report(service: Service) -> None:
    job, shard = await begun(service)
    await write(service.store, shard, label_state(0, 1))
    await asked(service, job, "pause")
    await release(service.store, shard)
    for partial in ("false", "true"):
        refused = await service.client.get(job["links"]["result"], params={"partial": partial})
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:icm:problem:job-not-finished"), partial
    labels = (await service.get(job["id"], "/labels"))["data"]
    assert [state["icm_label"] for state in labels[:2]] == ["No", None]
    assert (await service.get(job["id"], "/report"))["status"] == "paused"
    page = await service.client.get(job["links"]["report"], params={"format": "html"})
    assert (page.status_code, "paused" in page.text) == (200, True)


async def test_the_labels_of_a_job_cancelled_in_a_pause_can_be_downloaded(service: Service) -> None:
    job, shard = await begun(service)
    await write(service.store, shard, label_state(0, 1))
    await asked(service, job, "pause")
    assert (await service.client.delete(job["links"]["self"])).status_code == 409
    assert (await asked(service, job, "cancel"))["status"] == "paused"
    assert (await service.client.post(job["links"]["resume"])).status_code == 409
    await release(service.store, shard)
    assert (await service.get(job["id"]))["status"] == "cancelled"
    result = await service.client.get(job["links"]["result"], params={"partial": "true"})
    assert (result.status_code, len(result.text.splitlines())) == (200, 8)
    assert (await service.client.delete(job["links"]["self"])).status_code == 204


async def test_a_job_whose_last_shard_ends_before_its_worker_learns_of_the_pause_has_a_result(service: Service) -> None:
    job, shard = await begun(service)
    await asked(service, job, "pause")
    await finish(service.store, shard)
    assert (await service.client.get(job["links"]["result"])).status_code == 200


async def test_a_resumed_job_that_waits_for_its_backend_says_so(service: Service) -> None:
    job, shard = await begun(service)
    await pause(service.store, shard)
    resumed = await asked(service, job, "resume")
    assert (resumed["status"], resumed["error"]["code"]) == ("paused", "backend_unavailable")
    trying = await service.claim()
    assert trying is not None
    assert trying.paused


async def test_an_event_stream_continues_through_a_pause(service: Service) -> None:
    job = await service.post(method="zero_shot")
    await asked(service, job, "pause")
    reading = asyncio.create_task(service.client.get(job["links"]["events"]))
    await asked(service, job, "resume")
    await service.work()
    stream = (await asyncio.wait_for(reading, 60.0)).text
    told = [line.removeprefix("event: ") for line in stream.splitlines() if line.startswith("event: ")]
    assert told[:3] == ["job.created", "job.paused", "job.resumed"]
    assert told[-1] == "job.succeeded"


async def event_types(service: Service, job: dict[str, Any]) -> list[str]:
    answer = await service.client.get(job["links"]["events"], headers={"Accept": "application/json"})
    return [event["type"] for event in answer.json()["data"]]
