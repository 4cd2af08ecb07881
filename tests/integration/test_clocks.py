"""API and workers on machines whose clocks are wrong or jump; the database's clock is right.

`time_machine` moves the wall clock of this process alone. Postgres is another process, and what measures
waiting (the monotonic clock) stands still for nobody.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import time_machine

from service.access.authentication import authenticate
from service.access.issuing import create_key
from service.errors import NotAuthenticated
from service.identifiers import WorkerId
from service.records.access import LOCAL_CALLER, Scope
from service.scoring.deterministic import DeterministicScorer
from service.storage.store import PostgresStore
from tests.support.running.harness import CONFIG, pairs
from tests.support.running.whole import found_labels, result_rows, whole_service
from tests.support.stored import ALICE, BOB, claim, claimed, queued, release, renew
from workers.worker import Worker

HOUR = timedelta(hours=1)
WRONG = pytest.mark.parametrize("skew", [HOUR, -HOUR], ids=["an hour fast", "an hour slow"])


def clock_off_by(skew: timedelta) -> AbstractContextManager[time_machine.Traveller]:
    """Set this process's clock wrong; it advances from there."""
    return time_machine.travel(datetime.now(UTC) + skew, tick=True)


async def post(client: httpx.AsyncClient, key: str | None = None) -> dict[str, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await client.post("/v1/jobs", json={"config": CONFIG, "examples": pairs(8)}, headers=headers)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def test_jobs_are_listed_in_the_order_they_came_in_whatever_time_the_api_thinks_it_is(database_url: str) -> None:
    async with whole_service(database_url) as (client, _):
        posted = []
        for skew in (HOUR, -HOUR, timedelta(0), HOUR):
            with clock_off_by(skew):
                posted.append((await post(client))["id"])
        found: list[str] = []
        cursor: dict[str, str] = {}
        while len(found) < len(posted):
            with clock_off_by(-HOUR if len(found) % 2 else HOUR):
                page = (await client.get("/v1/jobs", params={"limit": "1", **cursor})).json()
            found += [job["id"] for job in page["data"]]
            cursor = {"cursor": page["next_cursor"] or ""}
    assert found == posted[::-1]


@pytest.mark.parametrize("skew", [HOUR, pytest.param(-HOUR, marks=pytest.mark.long)], ids=str)
async def test_a_job_has_the_databases_times_and_the_labels_of_any_other(database_url: str, skew: timedelta) -> None:
    async with whole_service(database_url) as (client, application):
        worker = Worker(application, WorkerId("worker"))
        undisturbed = await post(client)
        assert await worker.work_once()
        with clock_off_by(skew):
            job = await post(client)
            assert await worker.work_once()
            done = (await client.get(job["links"]["self"])).json()
            labels = found_labels(await result_rows(client, done))
        assert done["status"] == "succeeded"
        assert labels == found_labels(await result_rows(client, undisturbed))
        events = (await client.get(job["links"]["events"], headers={"Accept": "application/json"})).json()["data"]
    times = [done["created_at"], *(event["created_at"] for event in events), done["finished_at"]]
    assert all(abs(datetime.fromisoformat(text) - datetime.now(UTC)) < HOUR / 2 for text in times)


@WRONG
async def test_a_lease_lasts_as_long_as_the_database_says(postgres_store: PostgresStore, skew: timedelta) -> None:
    await queued(postgres_store)
    shard = await claimed(postgres_store, ALICE)
    with clock_off_by(skew):
        assert await claim(postgres_store, BOB) is None
        await renew(postgres_store, shard)
        await release(postgres_store, shard)
        assert await claim(postgres_store, BOB) is not None


@WRONG
async def test_an_api_key_expires_by_the_databases_clock(postgres_store: PostgresStore, skew: timedelta) -> None:
    scopes = [Scope.READ]
    with clock_off_by(skew):
        _, fresh = await create_key(postgres_store, project="a", name="a", scopes=scopes, lifetime=HOUR / 2)
        _, expired = await create_key(postgres_store, project="a", name="b", scopes=scopes, lifetime=timedelta(0))
    for wrong in (HOUR, -HOUR):
        with clock_off_by(wrong):
            await authenticate(postgres_store, fresh.text)
            with pytest.raises(NotAuthenticated):
                await authenticate(postgres_store, expired.text)


async def test_a_repeated_request_is_known_by_an_api_with_another_clock(database_url: str) -> None:
    async with whole_service(database_url) as (client, _):
        made = []
        for skew in (timedelta(0), HOUR, -HOUR):
            with clock_off_by(skew):
                made.append((await post(client, "key"))["id"])
    assert len(set(made)) == 1


class Jumping(DeterministicScorer):
    """A backend at whose every answer the clock jumps, now forward, now back."""

    def __init__(self, clock: time_machine.Traveller) -> None:
        super().__init__()
        self._clock = clock
        self._jumps = self._planned()

    async def score(self, *arguments: Any, **options: Any) -> Any:
        self._clock.shift(next(self._jumps))
        return await super().score(*arguments, **options)

    def _planned(self) -> Iterator[timedelta]:
        while True:
            yield from (HOUR, -2 * HOUR, HOUR)


async def test_a_worker_whose_clock_jumps_keeps_its_lease_and_finds_the_same_labels(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with whole_service(database_url) as (client, application):
        undisturbed = await post(client)
        worker = Worker(application, WorkerId("worker"))
        assert await worker.work_once()
        with clock_off_by(timedelta(0)) as clock:
            jumping = Jumping(clock)
            monkeypatch.setattr(application.scorers, "get", _always(jumping))
            job = await post(client)
            assert await worker.work_once()
        done = (await client.get(job["links"]["self"])).json()
        assert done["status"] == "succeeded"
        assert found_labels(await result_rows(client, job)) == found_labels(await result_rows(client, undisturbed))
        async with application.store.project_unit(LOCAL_CALLER) as unit:
            log = await unit.events.after(job["id"], 0, limit=1000)
    told = [event.type for event in log if event.type.startswith("shard.")]
    assert told == ["shard.started", "shard.finished"]  # by one claim, held to the end


def _always(scorer: DeterministicScorer) -> Callable[[str], DeterministicScorer]:
    return lambda _name: scorer
