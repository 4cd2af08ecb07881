"""Quotas and rates as clients meet them."""

import asyncio
from typing import Any

import httpx
import pytest

from api.labelling import events
from service.access.issuing import create_key, limit_project, revoke_key
from service.access.keys import key_of
from service.ports.store import Store
from service.records.access import LOCAL_CALLER, Scope
from service.settings import AccessSettings, QuotaSettings, Settings
from service.storage.store import PostgresStore
from tests.long import LONG
from tests.support.running.harness import CONFIG, Service, jsonl, pairs
from tests.support.stores import ScratchStore

MANY = 100 if LONG else 20
FITTING = 7


async def test_of_many_posts_at_once_exactly_as_many_are_taken_as_fit(postgres_store: PostgresStore) -> None:
    service = limited(postgres_store, jobs_in_flight=FITTING)
    client = await service.member("birds")
    answers = await asyncio.gather(*(post(client) for _ in range(MANY)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(202), statuses.count(429)) == (FITTING, MANY - FITTING)
    taken = (await client.get("/v1/jobs", params={"limit": MANY})).json()["data"]
    assert {job["id"] for job in taken} == {answer.json()["id"] for answer in answers if answer.status_code == 202}


async def test_of_many_posts_at_once_no_more_rows_are_taken_than_fit(postgres_store: PostgresStore) -> None:
    service = limited(postgres_store, rows=8 * FITTING + 3)
    client = await service.member("birds")
    answers = await asyncio.gather(*(post(client) for _ in range(3 * FITTING)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(202), statuses.count(403)) == (FITTING, 2 * FITTING)


async def test_a_project_at_its_quota_does_not_limit_others(store: Store) -> None:
    service = limited(store, jobs_in_flight=1)
    birds, fish = await service.member("birds"), await service.member("fish")
    assert [(await post(client)).status_code for client in (birds, birds, fish)] == [202, 429, 202]


async def test_the_refusal_of_a_full_project_names_the_quota_and_when_to_retry(store: Store) -> None:
    service = limited(store, jobs_in_flight=1)
    await post(service.client)
    answer = await post(service.client)
    problem = answer.json()
    assert problem["type"] == "urn:icm:problem:quota-exhausted"
    assert problem["quota"] == {"quota": "jobs_in_flight", "limit": 1, "used": 1}
    assert answer.headers["Retry-After"] == "30"
    await service.work()
    assert (await post(service.client)).status_code == 202


async def test_a_repeated_request_is_answered_with_its_job_however_full_the_project_is(store: Store) -> None:
    service = limited(store, jobs_in_flight=1, rows=8)
    first, again = [await post(service.client, key="k") for _ in range(2)]
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


async def test_deleting_a_job_frees_its_rows_and_bytes(store: Store) -> None:
    service = limited(store, rows=8)
    job = (await post(service.client)).json()
    answer = await post(service.client)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:icm:problem:quota-exceeded")
    assert "Retry-After" not in answer.headers
    await service.client.post(f"/v1/jobs/{job['id']}/cancel")
    await service.client.delete(f"/v1/jobs/{job['id']}")
    assert (await post(service.client)).status_code == 202


@pytest.mark.parametrize("quota", ["rows", "bytes"])
async def test_a_data_set_larger_than_the_whole_quota_is_too_large(store: Store, quota: str) -> None:
    answer = await post(limited(store, **{quota: 7}).client)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:icm:problem:quota-too-small")
    assert answer.json()["quota"]["limit"] == 7


async def test_nothing_of_a_refused_job_is_stored(store: Store) -> None:
    service = limited(store, bytes=8)
    assert (await post(service.client, key="k")).status_code == 413
    async with store.project_unit(LOCAL_CALLER) as unit:
        found = await unit.account.usage()
        assert (found.rows, found.bytes, found.jobs_in_flight) == (0, 0, 0)


async def test_tokens_spent_today_keep_further_jobs_out_until_midnight(store: Store) -> None:
    service = limited(store, tokens_per_day=1)
    await post(service.client)
    await service.work()
    answer = await post(service.client)
    assert answer.status_code == 429
    assert answer.json()["quota"]["used"] > 1
    assert 1 <= int(answer.headers["Retry-After"]) <= 24 * 3600


async def test_a_projects_own_quota_goes_before_that_of_all(store: Store) -> None:
    service = limited(store, jobs_in_flight=1)
    await service.member("birds")
    await limit_project(store, "birds", {"jobs_in_flight": 2})
    birds = await service.member("birds")
    assert [(await post(birds)).status_code for _ in range(3)] == [202, 202, 429]


async def test_streams_beyond_the_quota_are_refused_until_another_ends(store: Store) -> None:
    service = limited(store, event_streams=2)
    link = (await service.post(method="zero_shot"))["links"]["events"]
    streams = [asyncio.create_task(service.client.get(link)) for _ in range(2)]
    await until_open(service, 2)
    refused = await service.client.get(link)
    assert (refused.status_code, refused.json()["quota"]["quota"]) == (429, "event_streams")
    assert (await service.client.get(link, headers={"Accept": "application/json"})).status_code == 200
    await service.work()
    assert [answer.status_code for answer in await asyncio.gather(*streams)] == [200, 200]
    assert service.app.state.streams.open_streams("default") == 0
    assert (await service.client.get(link)).status_code == 200


async def test_a_stream_whose_reader_leaves_frees_its_place(service: Service) -> None:
    link = (await service.post())["links"]["events"]
    stream = asyncio.create_task(service.client.get(link))
    await until_open(service, 1)
    assert "icm_event_streams_open 1.0" in (await service.client.get("/metrics")).text
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    assert service.app.state.streams.open_streams("default") == 0
    assert "icm_event_streams_open 0.0" in (await service.client.get("/metrics")).text


async def test_a_stream_ends_soon_after_its_key_is_revoked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEPALIVE_SECONDS", 0.01)
    monkeypatch.setattr(events, "CONFIRM_SECONDS", 0.0)
    key, made = await create_key(service.store, project="default", name="a", scopes=[Scope.READ])
    link = (await service.post())["links"]["events"]
    stream = asyncio.create_task(service.connected(made.text).get(link))
    await until_open(service, 1)
    await revoke_key(service.store, key.id)
    answer = await asyncio.wait_for(stream, 30)
    assert "job.succeeded" not in answer.text


async def test_the_refusal_of_too_frequent_requests_says_when_to_retry() -> None:
    service = Service(ScratchStore(), settings=Settings(access=AccessSettings(requests_per_minute=2)))
    birds, fish = await service.member("birds"), await service.member("fish")
    answers = [await birds.get("/v1/jobs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers.get("RateLimit-Policy") for answer in answers] == ['"key";q=2;w=60'] * 3
    left = [answer.headers["RateLimit"].partition(";t=")[0] for answer in answers]
    assert left == ['"key";r=1', '"key";r=0', '"key";r=0']
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 30
    assert answers[2].json()["type"] == "urn:icm:problem:too-many-requests"
    assert (await fish.get("/v1/jobs")).status_code == 200
    assert [(await service.client.get("/v1/jobs")).status_code for _ in range(3)] == [200] * 3


async def test_a_wrong_secret_does_not_use_up_the_rate_of_the_key_it_names() -> None:
    service = Service(ScratchStore(), settings=Settings(access=AccessSettings(requests_per_minute=1)))
    key, made = await create_key(service.store, project="birds", name="a", scopes=[Scope.READ])
    forged = service.connected(key_of(key.id, bytes(32)).text)
    assert [(await forged.get("/v1/jobs")).status_code for _ in range(3)] == [401] * 3
    assert (await service.connected(made.text).get("/v1/jobs")).status_code == 200


def limited(store: Store, **quotas: int) -> Service:
    return Service(store, settings=Settings(quota=QuotaSettings(**quotas)))


async def post(client: httpx.AsyncClient, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    files: Any = {"dataset": ("a.jsonl", jsonl(pairs(8)))}
    return await client.post(
        "/v1/jobs", files=files, data={"config": jsonl([{**CONFIG, "method": "zero_shot"}])}, headers=headers
    )


async def until_open(service: Service, streams: int) -> None:
    for _ in range(30_000):
        if service.app.state.streams.open_streams("default") == streams:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the streams were not opened")
