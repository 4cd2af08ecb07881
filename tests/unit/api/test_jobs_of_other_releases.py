"""Jobs and trainings whose configuration another release has stored, over HTTP."""

from typing import Any

import asyncpg
import orjson
import pytest

from service.errors import ConfigUnreadable
from service.storage.engine import driver_address
from tests.support.running.harness import Service
from tests.support.stored import asked_for_training
from tests.support.stores import ScratchStore
from tests.unit.api.test_policy_trainings import REPORT, ended, page, queued


async def stored_with(service: Service, table: str, job_id: str, **changes: Any) -> None:
    """Let the configuration have been stored with other fields."""
    assert isinstance(service.store, ScratchStore)
    connection = await asyncpg.connect(driver_address(service.store.url))
    query = f"UPDATE {table} SET config = config::jsonb || $1::jsonb WHERE job_id = $2"  # noqa: S608 - our tables
    await connection.execute(query, orjson.dumps(changes).decode(), job_id)
    await connection.close()


async def test_a_job_of_a_release_with_other_fields_and_limits_is_answered_and_labelled(service: Service) -> None:
    job = await service.post(method="zero_shot")
    search = {**job["config"]["search"], "folds": 500, "annealing": "slow"}
    await stored_with(service, "labellings", job["id"], search=search, tenant="a")
    found = await service.get(job["id"])
    assert found["config"] == {**job["config"], "search": {**job["config"]["search"], "folds": 500}}
    await service.work()
    assert (await service.get(job["id"]))["status"] == "succeeded"


async def test_a_job_of_a_later_release_is_refused_and_can_be_deleted(service: Service) -> None:
    job = await service.labelled(method="zero_shot")
    await stored_with(service, "labellings", job["id"], version=99)
    for path in ("", "/result", "/report"):
        answer = await service.client.get(f"/v1/jobs/{job['id']}{path}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:icm:problem:config-unreadable")
        assert "a later release stored this configuration, in form 99" in answer.json()["detail"]
    assert (await service.client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    assert (await service.client.get(f"/v1/jobs/{job['id']}")).status_code == 404


async def changes_the_status(service: Service, path: str, status: str) -> None:
    answer = await service.client.post(path)
    body = answer.json()
    assert (answer.status_code, body["status"], body["config"]) == (202, status, None)
    assert body["unreadable"].startswith("a later release stored this configuration, in form 99")


async def test_a_job_of_a_later_release_can_be_paused_resumed_cancelled_and_deleted(service: Service) -> None:
    job = await service.post()
    path = f"/v1/jobs/{job['id']}"
    await stored_with(service, "labellings", job["id"], version=99)
    for asked, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("cancel", "cancelled")):
        await changes_the_status(service, f"{path}/{asked}", status)
    assert (await service.client.delete(path)).status_code == 204


async def test_a_training_of_a_later_release_can_be_paused_resumed_cancelled_and_deleted(service: Service) -> None:
    training_id = await asked_for_training(service.store)
    path = f"/v1/trainings/{training_id}"
    await stored_with(service, "trainings", training_id, version=99)
    for asked, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        await changes_the_status(service, f"{path}/{asked}", status)
    assert (await service.client.delete(path)).status_code == 204


async def test_a_worker_does_not_begin_with_a_job_of_a_later_release(service: Service) -> None:
    job = await service.post()
    await stored_with(service, "labellings", job["id"], version=99)
    with pytest.raises(ConfigUnreadable):
        await service.claim()


async def test_trainings_of_a_release_with_other_fields_and_limits_are_listed(service: Service) -> None:
    training_id = await asked_for_training(service.store)
    await stored_with(service, "trainings", training_id, epochs=10**6, warmup=3)
    [listed] = (await service.client.get("/v1/trainings")).json()["data"]
    assert listed["config"]["epochs"] == 10**6
    assert "warmup" not in listed["config"]


async def test_a_job_of_a_later_release_hides_no_other_one_from_the_list(service: Service) -> None:
    readable, unreadable, newest = [
        await service.labelled(name=name, method="zero_shot") for name in ("first", "second", "third")
    ]
    await stored_with(service, "labellings", unreadable["id"], version=99)
    for query in ("", "?limit=2", "?status=succeeded"):
        page = (await service.client.get(f"/v1/jobs{query}")).json()
        listed = {job["id"]: job for job in page["data"]}
        told = listed[unreadable["id"]]
        kept = ("name", "status", "created_at", "started_at", "finished_at", "warnings", "error", "progress", "links")
        assert {name: told[name] for name in kept} == {name: unreadable[name] for name in kept}
        assert told["config"] is None
        assert told["unreadable"].startswith("a later release stored this configuration, in form 99")
        assert listed[newest["id"]] == {**newest, "unreadable": None}
    assert listed[readable["id"]] == {**readable, "unreadable": None}
    cursor = (await service.client.get("/v1/jobs?limit=2")).json()["next_cursor"]
    [last] = (await service.client.get("/v1/jobs", params={"cursor": cursor})).json()["data"]
    assert last["id"] == readable["id"]


async def test_a_job_with_a_strategy_of_another_release_is_listed_too(service: Service) -> None:
    job = await service.post()
    await stored_with(service, "labellings", job["id"], search={**job["config"]["search"], "strategy": "quantum"})
    [listed] = (await service.client.get("/v1/jobs")).json()["data"]
    assert (listed["name"], listed["config"]) == (job["name"], None)
    assert "'quantum' as strategy" in listed["unreadable"]


async def test_a_training_of_a_later_release_hides_no_other_one_from_the_list(service: Service) -> None:
    unreadable, readable = [await asked_for_training(service.store) for _ in range(2)]
    await stored_with(service, "trainings", unreadable, version=99)
    listed = {each["id"]: each for each in (await service.client.get("/v1/trainings")).json()["data"]}
    told = listed[unreadable]
    assert told["config"] is None
    assert told["unreadable"].startswith("a later release stored this configuration, in form 99")
    assert (told["status"], told["base"]) == (listed[readable]["status"], listed[readable]["base"])
    assert told["lineage"] == listed[readable]["lineage"]
    assert (listed[readable]["unreadable"], listed[readable]["config"]["method"]) == (None, "lora")
    answer = await service.client.get(f"/v1/trainings/{unreadable}")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:icm:problem:config-unreadable")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "debate", "epochs": 10**6, "rank": 0, "controls": ["gold", "gold"], "warmup": 3},
        {"learning_rate": 7, "seed": -1, "policy": {"reward": "train_1", "beta": 0.1}},
        {"policy": {"kl_limit": 0.0, "stop": ""}},
    ],
)
async def test_the_page_of_a_training_of_another_release_is_shown(service: Service, changes: dict[str, Any]) -> None:
    training_id = await queued(service, "label")
    await ended(service, "made", REPORT)
    await stored_with(service, "trainings", training_id, **changes)
    shown = await page(service, f"/v1/trainings/{training_id}")
    assert f"Training of kind {changes.get('kind', 'label')}" in shown
