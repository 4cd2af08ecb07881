import re

import httpx

from tests.support.running.harness import CONFIG, Service, jsonl, pairs
from tests.support.stored import pause

JOB_FIELDS = [
    "id",
    "object",
    "name",
    "status",
    "created_at",
    "started_at",
    "finished_at",
    "config",
    "progress",
    "error",
    "warnings",
    "links",
]
PROGRESS_FIELDS = [
    "rows",
    "labeled",
    "iterations",
    "accepted",
    "utility",
    "inconsistencies",
    "prompts",
    "tokens_sent",
    "tokens_computed",
    "eta_seconds",
]


async def test_a_created_job_is_answered_with_202_its_address_and_when_to_look_again(service: Service) -> None:
    answer = await service.upload(jsonl(pairs(8)), "pairs.jsonl")
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await service.client.get(answer.headers["Location"])).json() == job


async def test_a_job_has_exactly_the_documented_fields(service: Service) -> None:
    job = await service.post()
    assert list(job) == JOB_FIELDS
    assert list(job["progress"]) == PROGRESS_FIELDS
    assert (job["object"], job["status"], job["name"], job["error"]) == ("job", "queued", "pairs", None)
    assert job["progress"]["rows"] == 8
    assert job["config"]["search"]["alpha"] == 50
    assert job["links"]["self"] == f"/v1/jobs/{job['id']}"


async def test_a_jobs_warnings_are_in_its_answer_and_in_its_report(service: Service) -> None:
    task = {"template": "{a} and {b} is", "labels": ["yes", "no way at all"]}
    job = await service.post(task=task)
    [unlike] = job["warnings"]
    assert "1 ('yes') to 4 ('no way at all') tokens" in unlike
    assert (await service.client.get(job["links"]["self"])).json()["warnings"] == job["warnings"]
    await service.work()
    assert (await service.client.get(job["links"]["report"])).json()["warnings"] == job["warnings"]
    page = await service.client.get(job["links"]["report"], params={"format": "html"})
    assert "1 (&#39;yes&#39;) to 4" in page.text
    assert (await service.post())["warnings"] == []


async def test_a_job_has_every_warning_of_its_estimate(service: Service) -> None:
    relations = [{"kind": "different_label", "group": "g"}, {"kind": "at_most_one", "group": "a"}]
    task = {"template": "{q}", "labels": ["no", "not at all sure"], "gold_field": "gold", "known_field": "k"}
    groups = ["x", "x", "x", "y", "y", "", ""]
    rows = [
        {"q": f"row {n % 6}", "g": g, "a": n, "gold": "ja", "k": "no" if n == 6 else ""} for n, g in enumerate(groups)
    ]
    body = {"config": {"task": {**task, "relations": relations}}, "examples": rows}
    estimated = (await service.client.post("/v1/jobs/estimate", json=body)).json()["warnings"]
    job = (await service.client.post("/v1/jobs", json=body)).json()
    told = ("exactly like", "tokens", "no labelling", "blank", "none of the labels", "no known row", "ties no rows")
    assert all(any(words in warning for warning in estimated) for words in told)
    assert job["warnings"] == estimated
    assert (await service.get(job["id"]))["warnings"] == estimated
    assert (await service.get(job["id"], "/report"))["warnings"] == estimated


async def test_a_finished_job_has_its_cost_and_every_link_leads_somewhere(service: Service) -> None:
    job = await service.labelled(method="zero_shot")
    assert job["status"] == "succeeded"
    assert job["progress"]["labeled"] == 8
    assert job["progress"]["tokens_sent"] >= job["progress"]["tokens_computed"] > 0
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    readable = {name: link for name, link in job["links"].items() if name not in {"pause", "resume", "cancel"}}
    answers = {name: (await service.client.get(link)).status_code for name, link in readable.items()}
    assert answers == dict.fromkeys(["self", "labels", "result", "report", "events"], 200)


async def test_an_unchanged_job_is_not_sent_again(service: Service) -> None:
    job = await service.post(method="zero_shot")
    path = job["links"]["self"]
    etag = (await service.client.get(path)).headers["ETag"]
    assert re.fullmatch(r'"[^"]+"', etag)
    for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = await service.client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    await service.work()
    changed = await service.client.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag


async def test_jobs_are_listed_by_status(service: Service) -> None:
    done = await service.labelled(method="zero_shot")
    waiting = await service.post()
    found = {
        status: [job["id"] for job in (await service.client.get(f"/v1/jobs?status={status}")).json()["data"]]
        for status in ("queued", "succeeded", "failed")
    }
    assert found == {"queued": [waiting["id"]], "succeeded": [done["id"]], "failed": []}


async def test_a_paused_job_says_what_it_waits_for_and_can_be_cancelled(service: Service) -> None:
    job = await service.post()
    shard = await service.claim()
    assert shard is not None
    await pause(service.store, shard)
    paused = await service.get(job["id"])
    assert (paused["status"], paused["finished_at"]) == ("paused", None)
    assert paused["error"] == {"code": "backend_unavailable", "message": "away"}
    assert paused["progress"]["eta_seconds"] is None
    listed = (await service.client.get("/v1/jobs", params={"status": "paused"})).json()
    assert [found["id"] for found in listed["data"]] == [job["id"]]
    cancelled = (await service.client.post(f"/v1/jobs/{job['id']}/cancel")).json()
    assert (cancelled["status"], cancelled["error"]) == ("cancelled", None)


async def test_cancelling_a_waiting_job_ends_it_and_cancelling_again_changes_nothing(service: Service) -> None:
    job = await service.post()
    answers = [await service.client.post(job["links"]["cancel"]) for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(202, "cancelled")] * 2
    assert answers[0].json() == answers[1].json()


async def test_cancelling_a_running_job_gives_the_same_answer_each_time(service: Service) -> None:
    job = await service.post()
    assert await service.claim() is not None
    answers = [await service.client.post(job["links"]["cancel"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert answers[0].json() == answers[1].json() == answers[2].json()


async def test_a_finished_job_can_be_removed_with_all_that_belongs_to_it(service: Service) -> None:
    job = await service.labelled(method="zero_shot")
    answer = await service.client.delete(job["links"]["self"])
    assert (answer.status_code, answer.content) == (204, b"")
    for link in ("self", "labels", "result", "report", "events"):
        assert (await service.client.get(job["links"][link])).status_code == 404
    assert (await service.client.delete(job["links"]["self"])).status_code == 404


async def test_a_job_that_is_not_finished_is_not_removed(service: Service) -> None:
    job = await service.post()
    assert (await service.client.delete(job["links"]["self"])).status_code == 409
    assert (await service.client.get(job["links"]["self"])).status_code == 200


async def same_key(service: Service, key: str, rows: int, name: str = "a.jsonl") -> httpx.Response:
    return await service.upload(jsonl(pairs(rows)), name, **{"Idempotency-Key": key})


async def test_the_same_key_with_the_same_request_gives_the_same_job(service: Service) -> None:
    first, again = await same_key(service, "key", 8), await same_key(service, "key", 8, "renamed.jsonl")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len((await service.client.get("/v1/jobs")).json()["data"]) == 1


async def test_the_same_key_with_another_data_set_is_refused(service: Service) -> None:
    await same_key(service, "key", 8)
    answer = await same_key(service, "key", 10)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:icm:problem:idempotency-mismatch")


async def test_the_same_key_with_another_configuration_is_refused(service: Service) -> None:
    headers = {"Idempotency-Key": "key"}
    codes = []
    for config in (CONFIG, {**CONFIG, "method": "icm"}, {**CONFIG, "search": {"seed": 1}}):
        body = {"config": config, "examples": pairs(8)}
        codes.append((await service.client.post("/v1/jobs", json=body, headers=headers)).status_code)
    assert codes == [202, 202, 422]


async def test_a_key_of_a_refused_request_can_be_used_again(service: Service) -> None:
    headers = {"Idempotency-Key": "key"}
    bad = await service.client.post("/v1/jobs", json={"config": CONFIG, "examples": [{}]}, headers=headers)
    good = await service.client.post("/v1/jobs", json={"config": CONFIG, "examples": pairs(8)}, headers=headers)
    assert (bad.status_code, good.status_code) == (422, 202)


async def test_a_key_that_is_no_key_is_refused(service: Service) -> None:
    for key in ("", "x" * 256, "a\tb"):
        assert (await same_key(service, key, 8)).status_code == 422, key
