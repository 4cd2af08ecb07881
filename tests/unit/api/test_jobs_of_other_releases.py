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


async def stored_with(service: Service, table: str, job_id: str, **changes: Any) -> None:
    """Let the configuration have been stored with other fields."""
    assert isinstance(service.store, ScratchStore)
    connection = await asyncpg.connect(driver_address(service.store.url))
    query = f"UPDATE {table} SET config = config::jsonb || $1::jsonb WHERE job_id = $2"  # noqa: S608 - our tables
    await connection.execute(query, orjson.dumps(changes).decode(), job_id)
    await connection.close()


async def test_a_job_of_a_release_with_other_fields_and_limits_is_answered_and_labelled(service: Service) -> None:
    job = await service.post()
    search = {**job["config"]["search"], "folds": 500, "annealing": "slow"}
    await stored_with(service, "labellings", job["id"], search=search, tenant="a")
    found = await service.get(job["id"])
    assert found["config"] == {**job["config"], "search": {**job["config"]["search"], "folds": 500}}
    await service.work()
    assert (await service.get(job["id"]))["status"] == "succeeded"


async def test_a_job_of_a_later_release_is_refused_and_can_be_deleted(service: Service) -> None:
    job = await service.labelled()
    await stored_with(service, "labellings", job["id"], version=99)
    for path in ("", "/result", "/report"):
        answer = await service.client.get(f"/v1/jobs/{job['id']}{path}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:icm:problem:config-unreadable")
        assert "a later release stored this configuration, in form 99" in answer.json()["detail"]
    assert (await service.client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    assert (await service.client.get(f"/v1/jobs/{job['id']}")).status_code == 404


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
