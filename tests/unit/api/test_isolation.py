"""Two projects, every operation, every kind of id: another project's objects answer as if they did not exist."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from service.identifiers import ProjectName
from service.ports.store import Store
from service.records.access import Caller
from tests.support.running.harness import CONFIG, Service, jsonl, pairs
from tests.support.stored import asked_for_training
from tests.unit.api.operations import ACCEPTED, OPEN, PATH_PARAMETERS, Operation, operations, unknown_ids

ENDINGS = ("queued", "running", "succeeded", "cancelled")
VARYING = {"x-request-id", "ratelimit", "date"}


@pytest.fixture
def service(store: Store) -> Service:
    return Service(store)


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("queued", marks=pytest.mark.long),
        pytest.param("running", marks=pytest.mark.long),
        "succeeded",
        pytest.param("cancelled", marks=pytest.mark.long),
    ],
)
async def test_every_operation_answers_for_a_foreign_id_as_for_an_unknown_one(service: Service, ending: str) -> None:
    birds, fish = await service.member("birds"), await service.member("fish")
    foreign = await owned_by(service, birds, ending)
    before = await seen(birds, foreign)
    tried = 0
    for operation in operations(service.app):
        if not operation.has_id:
            continue
        queries: list[tuple[dict[str, str], str]] = [({}, accepted) for accepted in ACCEPTED[1:]]
        queries += [(query, ACCEPTED[0]) for query in operation.queries()]
        for query, accepted in queries:
            told = [
                await answer(fish, operation, wanted, params=query, accepted=accepted)
                for wanted in (foreign, unknown_ids())
            ]
            assert told[0] == told[1], (str(operation), query, accepted)
            assert told[0][0] == 404, (str(operation), query, accepted)
            tried += 1
    assert tried >= 14 * len(ACCEPTED)
    assert await seen(birds, foreign) == before


async def test_no_answer_without_an_id_has_anything_of_another_project(service: Service) -> None:
    birds, fish = await service.member("birds"), await service.member("fish")
    marked = [{**row, "note": "nightingale"} for row in pairs(8)]
    ids = [found for ending in ENDINGS for found in (await owned_by(service, birds, ending, marked)).values()]
    for operation in operations(service.app):
        if operation.has_id or operation.method != "GET":
            continue
        for query in operation.queries():
            told = (await fish.get(operation.path, params=query)).text
            assert not [secret for secret in (*ids, "nightingale", "birds") if secret in told], (str(operation), query)


async def test_a_list_has_the_projects_own_jobs_newest_first_page_by_page(service: Service) -> None:
    birds, fish = await service.member("birds"), await service.member("fish")
    own = [await job_of(service, client, "queued") for client in (fish, birds, fish, birds, fish)][::2]
    found: list[str] = []
    query: dict[str, Any] = {"limit": 1}
    while True:
        page = (await fish.get("/v1/jobs", params=query)).json()
        found += [job["id"] for job in page["data"]]
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        query["cursor"] = page["next_cursor"]
    assert found == own[::-1]


async def test_a_cursor_of_another_project_is_no_cursor(service: Service) -> None:
    birds, fish = await service.member("birds"), await service.member("fish")
    for client in (birds, fish, birds, fish):
        await job_of(service, client, "queued")
    cursor = (await birds.get("/v1/jobs", params={"limit": 1})).json()["next_cursor"]
    told = [(await fish.get("/v1/jobs", params={"cursor": wanted})) for wanted in (cursor, "x" * len(cursor))]
    assert [part.status_code for part in told] == [400, 400]


async def test_an_idempotency_key_of_another_project_is_a_fresh_one(service: Service) -> None:
    birds, fish = await service.member("birds"), await service.member("fish")
    headers = {"Idempotency-Key": "the same"}
    body = {"config": CONFIG, "examples": pairs(8)}
    first, second, again = [await client.post("/v1/jobs", json=body, headers=headers) for client in (birds, fish, fish)]
    assert [part.status_code for part in (first, second, again)] == [202] * 3
    assert first.json()["id"] != second.json()["id"] == again.json()["id"]
    assert "Idempotency-Replayed" not in second.headers
    other = {**body, "examples": pairs(4)}
    assert (await fish.post("/v1/jobs", json=other, headers=headers)).status_code == 422
    unused = await birds.post("/v1/jobs", json=other, headers={"Idempotency-Key": "another"})
    assert unused.status_code == 202


async def test_the_keys_of_one_project_share_its_jobs(service: Service) -> None:
    one, other = await service.member("birds"), await service.member("birds")
    job_id = await job_of(service, one, "queued")
    assert (await other.get(f"/v1/jobs/{job_id}")).json()["id"] == job_id


async def test_a_caller_without_a_key_has_project_default_and_sees_no_other(service: Service) -> None:
    keyed, birds = await service.member("default"), await service.member("birds")
    own, foreign = await job_of(service, service.client, "queued"), await job_of(service, birds, "queued")
    assert [job["id"] for job in (await service.client.get("/v1/jobs")).json()["data"]] == [own]
    assert (await keyed.get(f"/v1/jobs/{own}")).status_code == 200
    assert (await service.client.get(f"/v1/jobs/{foreign}")).status_code == 404


async def test_two_projects_that_ask_at_once_do_not_mix(service: Service) -> None:
    clients = {name: await service.member(name) for name in ("birds", "fish")}
    wanted = [name for name in clients for _ in range(5)]
    made = await asyncio.gather(*(job_of(service, clients[name], "queued") for name in wanted))
    for name, client in clients.items():
        found = {job["id"] for job in (await client.get("/v1/jobs", params={"limit": 99})).json()["data"]}
        assert found == {job_id for job_id, owner in zip(made, wanted, strict=True) if owner == name}


def test_every_kind_of_id_in_a_path_is_known_to_this_test(service: Service) -> None:
    named = {
        parameter["name"]
        for operation in operations(service.app)
        for parameter in operation.definition.get("parameters", [])
        if parameter["in"] == "path"
    }
    assert named == set(PATH_PARAMETERS)
    assert {operation.path for operation in operations(service.app)} >= OPEN


async def job_of(
    service: Service, client: httpx.AsyncClient, ending: str, rows: list[dict[str, Any]] | None = None
) -> str:
    """A job of this client's project in the given state."""
    files = {"dataset": ("a.jsonl", jsonl(rows or pairs(8)))}
    answer = await client.post("/v1/jobs", files=files, data={"config": jsonl([{**CONFIG, "method": "zero_shot"}])})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    match ending:
        case "running":
            await service.claim()
        case "succeeded":
            await service.work()
        case "cancelled":
            await client.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


async def owned_by(
    service: Service, client: httpx.AsyncClient, ending: str, rows: list[dict[str, Any]] | None = None
) -> dict[str, str]:
    """Something of each kind that the birds own, whose client this is, by the name of its parameter."""
    url = "https://example.com/nightingale"
    webhook = (await client.post("/v1/webhooks", json={"url": url, "events": ["job.created"]})).json()
    job_id = await job_of(service, client, ending, rows)
    log = (await client.get(f"/v1/webhooks/{webhook['id']}/deliveries")).json()
    training_id = await asked_for_training(service.store, Caller(project=ProjectName("birds")))
    return {
        "job_id": job_id,
        "training_id": training_id,
        "webhook_id": webhook["id"],
        "delivery_id": log["data"][0]["id"],
    }


async def answer(
    client: httpx.AsyncClient, operation: Operation, wanted: Mapping[str, str], *, params: dict[str, str], accepted: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body, without what differs between any two requests."""
    path, headers = operation.filled(wanted), {"Accept": accepted}
    got = await client.request(operation.method, path, params=params, headers=headers, json=operation.body)
    told = {name: value for name, value in got.headers.items() if name not in VARYING}
    text = got.text.replace(got.headers["X-Request-ID"], "REQUEST")
    for value in wanted.values():
        text = text.replace(value, "ID")
    return got.status_code, told, text


async def seen(client: httpx.AsyncClient, ids: Mapping[str, str]) -> list[str]:
    """All that its owner sees of a job and a webhook and does not change with the clock."""
    job_id, webhook_id = ids["job_id"], ids["webhook_id"]
    json = {"Accept": "application/json"}
    paths = ("/labels", "/events", "/result?partial=true")
    status = (await client.get(f"/v1/jobs/{job_id}")).json()["status"]
    texts = [(await client.get(f"/v1/jobs/{job_id}{path}", headers=json)).text for path in paths]
    texts += [(await client.get(f"/v1/webhooks/{webhook_id}{path}")).text for path in ("", "/deliveries")]
    # An answer that is a problem has an id of its own.
    return [status, *(text for text in texts if "request_id" not in text)]
