"""Maintenance in Postgres: what it keeps, which locks it waits for, and what waits for its locks."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import Date, DateTime

from service.access.issuing import create_key
from service.errors import StorageUnavailable
from service.identifiers import BackendId, JobId, new_job_id
from service.jobs import retention
from service.jobs.retention import delete_expired
from service.records.access import LOCAL_CALLER, AuditAction, AuditEntry, Scope
from service.search.predictions.prompt_tree import Usage
from service.search.prompting.recall import PromptKey
from service.storage.store import PostgresStore
from service.storage.tables import metadata
from tests.support.aging import DAY, Aging, kept
from tests.support.databases import WAITING
from tests.support.hooks import DELIVERED, GOOD, claim, made, record
from tests.support.running.whole import finished_job, whole_service
from tests.support.stored import (
    ALICE,
    BOB,
    claimed,
    event_types,
    finish,
    job,
    label_state,
    queued,
    save,
    spend,
    trained,
    write,
)

# What the maintainer leaves alone, and why that does not grow without end.
KEPT_FOR_GOOD = {
    "projects": "made by the operator",
    "api_keys": "made by the operator",
    "backend_identities": "one for each language model or server that was ever configured",
    "webhooks": "made by the operator, a bounded number for each project",
    "remembered_answers": "bounded by ICM_MEMORY__MAX_ANSWERS as answers are added",
}
# What deleting a job leaves of it: who did what, what was charged, and hashes without a way back to it.
OUTLIVES_A_JOB = {"audit_log"}
GENTLE_LOCKS = {"AccessShareLock", "RowShareLock", "RowExclusiveLock", "ExclusiveLock"}
WORD = "quetzalcoatl"


async def full_life(store: PostgresStore) -> JobId:
    """A job that has left something in every table."""
    await create_key(store, project="default", name="a", scopes=[Scope.READ])
    await made(store)
    job_id = await queued(store, 2, 2, gold=[b'"True"'])
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.idempotency.claim(f"key of {job_id}", "0" * 64, job_id)
        await unit.audit.record(AuditEntry.by(LOCAL_CALLER, AuditAction.JOB_CREATED, job_id))
    for _ in range(2):
        shard = await claimed(store)
        await write(store, shard, label_state(2 * shard.lease.number, 1))
        await save(store, shard, labeled=1)
        await spend(store, shard, Usage(tokens_computed=5))
        async with store.worker_unit() as unit:
            await unit.answers.record(shard.lease, BackendId(1), {PromptKey(bytes(16)): (-0.5, -0.9)})
        await finish(store, shard)
    for due in await claim(store):
        await record(store, due, GOOD, DELIVERED)
    return job_id


async def contents(operator: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    statements = {table.name: f"SELECT t::text FROM {table.name} AS t" for table in metadata.sorted_tables}  # noqa: S608 - our own names
    return {name: [row[0] for row in await operator.fetch(statement)] for name, statement in statements.items()}


async def test_no_table_keeps_data_past_its_retention_period(aging: Aging, operator: asyncpg.Connection) -> None:
    for _ in range(2):
        await full_life(postgres(aging))
        await trained(postgres(aging), reward=await trained(postgres(aging)))
    filled = {name for name, rows in (await contents(operator)).items() if rows}
    assert filled >= {table.name for table in metadata.sorted_tables} - {"backend_identities"}
    await aging.let_pass(3650 * DAY)
    await aging.delete_expired(jobs=7 * DAY)
    left = {name for name, rows in (await contents(operator)).items() if rows}
    assert left <= KEPT_FOR_GOOD.keys() | {"audit_log"}
    assert all("job.expired" in row for row in (await contents(operator))["audit_log"])


async def test_every_table_with_a_time_has_a_retention_period_or_belongs_to_a_job(aging: Aging) -> None:
    """A new table belongs to a job, has a retention period, or is in the list above."""
    limited = {"idempotency_keys", "project_tokens", "audit_log", "jobs", "datasets", "events", "checkpoints"}
    limited |= {"webhook_deliveries", "webhook_attempts"}
    timed = {t.name for t in metadata.sorted_tables if any(isinstance(c.type, DateTime | Date) for c in t.columns)}
    assert timed - limited - KEPT_FOR_GOOD.keys() == {"work_items"}


async def test_a_deleted_job_leaves_only_rows_that_are_meant_to_outlive_it_and_its_request_makes_a_new_one(
    database_url: str, operator: asyncpg.Connection
) -> None:
    task = {"template": "{claim} is", "gold_field": "gold", "id_field": "name"}
    rows = [{"name": f"{WORD} {number}", "claim": f"{WORD} {number}", "gold": f"{WORD}"} for number in range(6)]
    config = {"name": WORD, "task": {**task, "labels": ["yes", "no"]}, "search": {"initial_rows": 4, "restarts": 1}}
    async with whole_service(database_url) as (client, application):
        client.headers["Idempotency-Key"] = f"{WORD} 1"
        job = await finished_job(client, application, rows, config)
        async with application.store.project_unit(LOCAL_CALLER) as unit:
            dataset_id = (await unit.jobs.get(JobId(job["id"]))).dataset_id
        assert {name for name, rows in (await contents(operator)).items() if tells_of(rows, job["id"])} >= {
            "jobs",
            "shards",
            "checkpoints",
            "label_states",
            "events",
            "idempotency_keys",
        }
        assert (await client.delete(job["links"]["self"])).status_code == 204
        left = await contents(operator)
        again = await client.post("/v1/jobs", json={"config": config, "examples": rows})
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (202, False)
    for word in (job["id"], dataset_id, WORD):
        assert {name for name, rows in left.items() if tells_of(rows, word)} <= OUTLIVES_A_JOB
    assert not tells_of(left["audit_log"], WORD)
    assert {name for name, rows in left.items() if rows} <= OUTLIVES_A_JOB | KEPT_FOR_GOOD.keys() | {"project_tokens"}


async def test_a_data_set_is_never_without_its_job(database_url: str, operator: asyncpg.Connection) -> None:
    async with whole_service(database_url) as (client, _):
        body = {"config": {"task": {"template": "{claim} is"}}, "examples": [{"claim": "a"}, {"other": "b"}]}
        assert (await client.post("/v1/jobs", json=body)).status_code == 422
    assert (await contents(operator))["datasets"] == []


async def test_one_maintainer_is_elected_at_a_time_and_one_that_dies_is_replaced(
    postgres_store: PostgresStore, operator: asyncpg.Connection
) -> None:
    with pytest.raises(StorageUnavailable):
        await die_elected(postgres_store, operator)
    async with postgres_store.maintenance_unit() as successor:
        assert await successor.is_elected()


async def die_elected(store: PostgresStore, operator: asyncpg.Connection) -> None:
    async with store.maintenance_unit() as first, store.maintenance_unit() as second:
        assert await first.is_elected()
        assert not await second.is_elected()
        await operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        await first.drop_idempotency_keys(DAY, at_most=1)


async def test_a_maintainer_without_the_lock_deletes_nothing(aging: Aging) -> None:
    job_id = await full_life(postgres(aging))
    await aging.let_pass(3650 * DAY)
    async with aging.store.maintenance_unit() as other:
        assert await other.is_elected()
        assert (await delete_expired(aging.store, kept(jobs=DAY))).removed == {}
    assert await event_types(aging.store, job_id) != []


async def test_half_erased_jobs_are_hidden_and_the_next_run_erases_them(
    aging: Aging, monkeypatch: pytest.MonkeyPatch, operator: asyncpg.Connection, database_url: str
) -> None:
    monkeypatch.setattr(retention, "CHUNK_ROWS", 1)
    job_id = await full_life(postgres(aging))
    await aging.let_pass(8 * DAY)
    async with aging.store.maintenance_unit() as unit:
        await unit.retire_jobs(7 * DAY, at_most=9)
        await unit.erase_retired_jobs(at_most=1)
    assert len((await contents(operator))["label_states"]) == 1
    async with whole_service(database_url) as (client, _):
        for path in ("", "/labels", "/result", "/report", "/events"):
            assert (await client.get(f"/v1/jobs/{job_id}{path}")).status_code == 404
        assert (await client.get("/v1/jobs")).json()["data"] == []
        for what in ("cancel", "pause", "resume"):
            assert (await client.post(f"/v1/jobs/{job_id}/{what}")).status_code == 404
        assert (await client.delete(f"/v1/jobs/{job_id}")).status_code == 404
    monkeypatch.setattr(retention, "MAX_CHUNKS", 99)
    assert (await aging.delete_expired(jobs=7 * DAY))["rows_of_jobs"] > 4
    left = await contents(operator)
    assert [left[name] for name in ("jobs", "datasets", "dataset_rows", "gold_labels", "label_states", "events")] == (
        [[]] * 6
    )


@asynccontextmanager
async def shortening(store: PostgresStore, _old: JobId) -> AsyncIterator[None]:
    async with store.maintenance_unit() as unit:
        assert (await unit.shorten_event_logs(DAY, at_most=3)).removed
        yield


@asynccontextmanager
async def retiring(store: PostgresStore, _old: JobId) -> AsyncIterator[None]:
    async with store.maintenance_unit() as unit:
        assert (await unit.retire_jobs(DAY, at_most=9)).removed
        yield


@asynccontextmanager
async def erasing(store: PostgresStore, old: JobId) -> AsyncIterator[None]:
    async with retiring(store, old):
        pass
    async with store.maintenance_unit() as unit:
        while not (await unit.erase_retired_jobs(at_most=3)).is_done:
            pass
        yield


@asynccontextmanager
async def deleting(store: PostgresStore, old: JobId) -> AsyncIterator[None]:
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.jobs.remove(old)
        yield


@pytest.mark.parametrize("removal", [shortening, retiring, erasing, deleting])
async def test_claims_and_other_jobs_never_wait_for_retention(
    aging: Aging,
    operator: asyncpg.Connection,
    removal: Callable[[PostgresStore, JobId], AbstractAsyncContextManager[None]],
) -> None:
    """The removal stays open while others work. It locks only the removed rows, and no statement waits."""
    store = postgres(aging)
    old = await full_life(store)
    await aging.let_pass(31 * DAY)
    going_on = await queued(store, 1, 1)
    async with removal(store, old):
        assert {row["mode"] for row in await operator.fetch(LOCKS)} <= GENTLE_LOCKS
        for worker in (ALICE, BOB):
            shard = await claimed(store, worker)
            assert shard.lease.job_id == going_on
            await save(store, shard)
            await finish(store, shard)
        assert (await job(store, going_on)).status.is_final
        await queued(store)
        assert await operator.fetchval(WAITING) == 0


LOCKS = """
    SELECT DISTINCT mode FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def tells_of(rows: list[str], word: str) -> bool:
    """Whether a row has the word, as text or as bytes."""
    return any(word in row or word.encode().hex() in row for row in rows)


def postgres(aging: Aging) -> PostgresStore:
    assert isinstance(aging.store, PostgresStore)
    return aging.store


async def test_locked_rows_are_skipped_until_the_next_run(aging: Aging, operator: asyncpg.Connection) -> None:
    async with aging.store.project_unit(LOCAL_CALLER) as unit:
        for key in ("one", "two"):
            await unit.idempotency.claim(key, "0" * 64, new_job_id())
    await aging.let_pass(3 * DAY)
    async with operator.transaction():
        await operator.execute("SELECT FROM idempotency_keys WHERE key = 'one' FOR UPDATE")
        assert await aging.delete_expired() == {"idempotency_keys": 1}
    assert await aging.delete_expired() == {"idempotency_keys": 1}
