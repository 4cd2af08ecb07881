"""Neither people nor retention remove a training while another one that has not ended needs its model."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from service.errors import TrainingNotFound, WrongState
from service.identifiers import JobId
from service.records.access import LOCAL_CALLER
from service.records.work import WorkKind, WorkStatus
from service.storage.store import PostgresStore
from tests.support.aging import DAY, Aging
from tests.support.databases import WAITING
from tests.support.running.processes import until
from tests.support.stored import asked_for_training, claim_work, new_training, trained


@pytest.fixture
def somebody_waits(operator: asyncpg.Connection) -> Callable[[], Awaitable[None]]:
    """Returns once a transaction waits for another one's lock."""

    async def waits() -> bool:
        return bool(await operator.fetchval(WAITING))

    return lambda: until(waits)


async def left(store: PostgresStore) -> set[JobId]:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return {found.id for found in await unit.trainings.page(limit=99, before=None, status=None)}


async def removed(store: PostgresStore, training_id: JobId) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.trainings.remove(training_id)


async def added_against(store: PostgresStore, model: JobId) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.trainings.hold(model)
        await unit.trainings.add(new_training(reward=model))


async def finish_next(store: PostgresStore) -> None:
    work = await claim_work(store, WorkKind.TRAIN)
    assert work is not None
    async with store.worker_unit() as unit:
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED)


async def test_whoever_removes_a_model_waits_for_a_training_that_is_just_asked_for(
    postgres_store: PostgresStore, somebody_waits: Callable[[], Awaitable[None]]
) -> None:
    model = await trained(postgres_store)
    async with postgres_store.project_unit(LOCAL_CALLER) as unit:
        await unit.trainings.hold(model)
        removal = asyncio.create_task(removed(postgres_store, model))
        await somebody_waits()
        await unit.trainings.add(new_training(judge=model))
    with pytest.raises(WrongState, match="has not ended"):
        await removal
    assert model in await left(postgres_store)


async def test_a_training_that_is_asked_for_while_its_model_is_removed_does_not_find_it(
    postgres_store: PostgresStore, somebody_waits: Callable[[], Awaitable[None]]
) -> None:
    model = await trained(postgres_store)
    async with postgres_store.project_unit(LOCAL_CALLER) as unit:
        await unit.trainings.remove(model)
        asking = asyncio.create_task(added_against(postgres_store, model))
        await somebody_waits()
    with pytest.raises(TrainingNotFound):
        await asking
    assert await left(postgres_store) == set()


async def test_retention_leaves_a_needed_model_until_nobody_needs_it(
    aging: Aging, postgres_store: PostgresStore
) -> None:
    model, free = await trained(postgres_store), await trained(postgres_store)
    needing = await asked_for_training(postgres_store, reward=model)
    await aging.let_pass(8 * DAY)
    assert (await aging.delete_expired(jobs=7 * DAY))["jobs"] == 1
    assert free not in await left(postgres_store)
    assert await left(postgres_store) == {model, needing}
    await finish_next(postgres_store)
    await aging.delete_expired(jobs=7 * DAY)
    assert await left(postgres_store) == {needing}
    await aging.let_pass(8 * DAY)
    await aging.delete_expired(jobs=7 * DAY)
    assert await left(postgres_store) == set()


async def test_a_model_that_came_to_be_needed_while_it_was_retired_is_not_erased(
    aging: Aging, postgres_store: PostgresStore
) -> None:
    model = await trained(postgres_store)
    await aging.let_pass(8 * DAY)
    async with postgres_store.maintenance_unit() as unit:
        assert (await unit.retire_jobs(7 * DAY, at_most=9)).removed == 1
    await asked_for_training(postgres_store, reward=model)
    async with postgres_store.maintenance_unit() as unit:
        assert (await unit.erase_retired_jobs(at_most=9)).removed == 0
    work = await claim_work(postgres_store, WorkKind.TRAIN)
    assert work is not None
    async with postgres_store.worker_unit() as worker:
        assert [found.training_id for found in (await worker.trainings.order(work.lease)).models] == [model]
        await worker.work.finish(work.lease, WorkStatus.SUCCEEDED)
    async with postgres_store.maintenance_unit() as unit:
        while not (await unit.erase_retired_jobs(at_most=9)).is_done:
            pass
        assert model not in await unit.named_artifacts([model])
