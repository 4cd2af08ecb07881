import asyncio

import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import IntegrityError

from service.errors import StorageUnavailable
from service.identifiers import BackendId, DatasetId, JobId
from service.records.access import LOCAL_CALLER
from service.records.jobs import NewDataset
from service.records.work import Lease
from service.search.prompting.recall import Answers, PromptKey
from service.storage.engine import database_url as with_driver
from service.storage.store import PostgresStore
from tests.support.running.processes import until
from tests.support.stored import ALICE, BOB, NO_TIME, cancel, claim, claimed, event_types, label_state, queued

PATIENCE_SECONDS = 60.0
DATASET = NewDataset(id=DatasetId("ds_1"), columns=("sum",), gold_field=None, rows=0, sha256="0" * 64)


async def disconnect_everybody(operator: asyncpg.Connection) -> None:
    await operator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def test_a_server_that_cannot_be_reached_is_an_outage() -> None:
    store = PostgresStore("postgresql://icm:icm@127.0.0.1:1/icm")
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await store.ping()
    await asyncio.wait_for(store.wait_for_work(0.01), PATIENCE_SECONDS)
    with store.follow_events(JobId("job_0")) as subscription:
        await asyncio.wait_for(subscription.wait(0.01), PATIENCE_SECONDS)
    await store.close()


async def test_a_wrong_password_is_an_outage(database_url: str) -> None:
    store = PostgresStore(make_url(database_url).set(password="wrong").render_as_string(hide_password=False))
    with pytest.raises(StorageUnavailable, match="password"):
        await store.ping()
    await store.close()


async def test_a_connection_lost_in_a_transaction_is_an_outage_and_stores_nothing(
    postgres_store: PostgresStore, operator: asyncpg.Connection
) -> None:
    with pytest.raises(StorageUnavailable):
        await store_and_be_disconnected(postgres_store, operator)
    async with postgres_store.project_unit(LOCAL_CALLER) as unit:
        await unit.datasets.add(DATASET)  # there is none of that id


async def store_and_be_disconnected(store: PostgresStore, operator: asyncpg.Connection) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.datasets.add(DATASET)
        await disconnect_everybody(operator)
        await unit.datasets.add_rows(DATASET.id, [])


async def test_answers_that_cannot_be_stored_or_read_are_an_outage(
    postgres_store: PostgresStore, operator: asyncpg.Connection
) -> None:
    await queued(postgres_store)
    shard = await claimed(postgres_store)
    answers = {PromptKey(bytes(16)): (-0.5, -0.9)}
    with pytest.raises(StorageUnavailable):
        await record_and_be_disconnected(postgres_store, operator, shard.lease, answers)
    async with postgres_store.worker_unit() as unit:
        assert await unit.answers.recall(BackendId(1), list(answers)) == {}


async def record_and_be_disconnected(
    store: PostgresStore, operator: asyncpg.Connection, lease: Lease, answers: Answers
) -> None:
    async with store.worker_unit() as unit:
        await unit.answers.record(lease, BackendId(1), answers)
        await disconnect_everybody(operator)
        await unit.answers.recall(BackendId(1), list(answers))


async def test_the_store_recovers_by_itself(postgres_store: PostgresStore, operator: asyncpg.Connection) -> None:
    await queued(postgres_store)
    await postgres_store.wait_for_work(0.01)
    await disconnect_everybody(operator)
    assert await claim(postgres_store) is not None
    job_id = await queued(postgres_store)
    await asyncio.wait_for(postgres_store.wait_for_work(60.0), PATIENCE_SECONDS)
    with postgres_store.follow_events(job_id) as subscription:
        await cancel(postgres_store, job_id)
        await asyncio.wait_for(subscription.wait(60.0), PATIENCE_SECONDS)
    assert "job.cancelled" in await event_types(postgres_store, job_id)


async def test_a_statement_that_waits_too_long_is_an_outage(
    database_url: str, postgres_store: PostgresStore, operator: asyncpg.Connection
) -> None:
    job_id = await queued(postgres_store)
    impatient = PostgresStore(database_url, statement_timeout_seconds=0.05)
    async with operator.transaction():
        await operator.execute("SELECT * FROM jobs FOR UPDATE")
        with pytest.raises(StorageUnavailable, match="timeout"):
            await cancel(impatient, job_id)
    await impatient.close()


async def test_a_worker_stopped_within_a_transaction_does_not_lock_its_shard_for_long(
    database_url: str, postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.storage.engine.IDLE_IN_TRANSACTION_SECONDS", 0.2)
    stopped = PostgresStore(database_url)
    await queued(postgres_store)
    shard = await claimed(stopped, ALICE, NO_TIME)

    async def taken_over() -> bool:
        return await claim(postgres_store, BOB) is not None

    async def stop_half_way() -> None:
        async with stopped.worker_unit() as unit:
            await unit.labels.write(shard.lease, [label_state(0)])
            await until(taken_over)

    with pytest.raises(StorageUnavailable):
        await stop_half_way()
    await stopped.close()


async def test_an_exhausted_pool_is_an_outage(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.storage.connections.BUSY_SECONDS", 0.05)
    store = PostgresStore(database_url, pool_size=1)
    async with store.project_unit(LOCAL_CALLER):
        with pytest.raises(StorageUnavailable, match="in use"):
            await store.ping()
    await store.close()


async def test_a_programming_error_is_no_outage(postgres_store: PostgresStore) -> None:
    async with postgres_store.project_unit(LOCAL_CALLER) as unit:
        await unit.datasets.add(DATASET)
    with pytest.raises(IntegrityError):
        await store_again(postgres_store)


async def store_again(store: PostgresStore) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.datasets.add(DATASET)


@pytest.mark.parametrize(
    "url",
    ["postgres://a:b@h/d", "postgresql://a:b@h/d", "postgresql+psycopg://a:b@h/d", "postgresql+asyncpg://a:b@h/d"],
)
def test_every_form_of_the_database_url_gets_the_services_driver(url: str) -> None:
    assert with_driver(url).render_as_string(hide_password=False) == "postgresql+asyncpg://a:b@h/d"
