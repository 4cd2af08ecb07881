"""Postgres and the store in memory count a project's contents in the same way."""

from datetime import UTC, datetime, timedelta

import pytest

from service.access.issuing import create_key, limit_project, list_projects
from service.errors import InvalidInput, ProjectNotFound
from service.identifiers import DEFAULT_PROJECT, JobId, ProjectName
from service.ports.store import Store
from service.records.access import Caller, Holdings, Scope
from service.search.predictions.prompt_tree import Usage
from tests.support.stored import added, claimed, finish, release, save, spend
from tests.support.stores import ScratchStore

BIRDS, FISH = Caller(project=ProjectName("birds")), Caller(project=ProjectName("fish"))


@pytest.fixture
async def projects(store: Store) -> Store:
    for caller in (BIRDS, FISH):
        await create_key(store, project=caller.project, name="a", scopes=[Scope.READ])
    return store


async def test_a_new_project_has_nothing(projects: Store) -> None:
    found = await usage(projects, BIRDS)
    assert (found.jobs_in_flight, found.rows, found.bytes, found.tokens_today) == (0, 0, 0, 0)
    assert 0 < found.seconds_left_today <= 24 * 3600


async def test_jobs_that_have_not_ended_and_all_stored_rows_count(projects: Store) -> None:
    for _ in range(2):
        await queued(projects, BIRDS)
    await queued(projects, FISH)
    before = await usage(projects, BIRDS)
    assert (before.jobs_in_flight, before.rows) == (2, 4)
    assert before.bytes == 2 * (len(b'{"sum":"0"}') * 2 + len(b'"yes"') + len(b'"no"'))
    await finish(projects, await claimed(projects))
    after = await usage(projects, BIRDS)
    assert (after.jobs_in_flight, after.rows, after.bytes) == (1, 4, before.bytes)


async def test_a_job_about_to_be_stored_is_not_counted_against_itself(projects: Store) -> None:
    async with projects.project_unit(BIRDS) as unit:
        job_id = await added(unit)
        own = (await unit.jobs.get(job_id)).dataset_id
        found = await unit.account.usage(excluding=own)
        assert (found.rows, found.bytes) == (0, 0)
        assert (await unit.account.usage()).rows == 2


async def test_deleting_a_job_frees_its_rows_and_not_its_tokens(projects: Store) -> None:
    job_id = await queued(projects, BIRDS)
    shard = await claimed(projects)
    await save(projects, shard, tokens_computed=70)
    await finish(projects, shard)
    async with projects.project_unit(BIRDS) as unit:
        await unit.jobs.remove(job_id)
    found = await usage(projects, BIRDS)
    assert (found.jobs_in_flight, found.rows, found.bytes, found.tokens_today) == (0, 0, 0, 70)


async def test_tokens_are_charged_once_to_the_project_of_the_job_and_again_if_its_search_begins_anew(
    projects: Store,
) -> None:
    await queued(projects, BIRDS)
    shard = await claimed(projects)
    for tokens in (10, 10, 25, 4, 6):
        await save(projects, shard, tokens_computed=tokens)
    await queued(projects, BIRDS)
    await save(projects, await claimed(projects), tokens_computed=5)
    assert (await usage(projects, BIRDS)).tokens_today == 25 + 2 + 5
    assert (await usage(projects, FISH)).tokens_today == 0


async def test_tokens_are_charged_with_the_answers_and_not_again_when_progress_is_saved(projects: Store) -> None:
    await queued(projects, BIRDS)
    shard = await claimed(projects)
    await spend(projects, shard, Usage(tokens_computed=10))
    await spend(projects, shard, Usage(tokens_computed=10), remembered=3)
    await save(projects, shard, tokens_computed=10)
    await spend(projects, shard, Usage(tokens_computed=25))
    await release(projects, shard)
    assert (await usage(projects, BIRDS)).tokens_today == 25
    assert (await usage(projects, FISH)).tokens_today == 0


async def test_every_day_is_counted_anew() -> None:
    clock = [datetime(2026, 1, 1, 23, 59, 50, tzinfo=UTC)]
    store = ScratchStore(now=lambda: clock[0])
    await create_key(store, project=BIRDS.project, name="a", scopes=[Scope.READ])
    await queued(store, BIRDS)
    shard = await claimed(store)
    await save(store, shard, tokens_computed=10)
    before = await usage(store, BIRDS)
    assert (before.tokens_today, before.seconds_left_today) == (10, 10.0)
    clock[0] += timedelta(seconds=10)
    assert (await usage(store, BIRDS)).tokens_today == 0
    async with store.worker_unit() as unit:
        today = await unit.spendings.today(BIRDS.project)
    assert (today.tokens, today.seconds_left_today) == (0, 24 * 3600.0)
    await save(store, shard, tokens_computed=13)
    assert (await usage(store, BIRDS)).tokens_today == 3


async def test_workers_see_what_each_project_has_had_computed_today_and_its_own_quotas(projects: Store) -> None:
    await limit_project(projects, "birds", {"tokens_per_day": 5})
    await queued(projects, BIRDS)
    await save(projects, await claimed(projects), tokens_computed=10)
    async with projects.worker_unit() as unit:
        birds, fish = [await unit.spendings.today(caller.project) for caller in (BIRDS, FISH)]
    assert (birds.tokens, birds.overrides) == (10, {"tokens_per_day": 5})
    assert (fish.tokens, fish.overrides) == (0, {})
    assert 0 < birds.seconds_left_today <= 24 * 3600


async def test_a_project_gets_quotas_of_its_own_and_loses_them_again(projects: Store) -> None:
    assert await own_quotas(projects) == {}
    await limit_project(projects, "birds", {"rows": 5, "bytes": 7})
    await limit_project(projects, "birds", {"bytes": None, "jobs_in_flight": 0})
    assert await own_quotas(projects) == {"rows": 5, "jobs_in_flight": 0}
    assert {project.name: dict(project.quotas) for project in await list_projects(projects)} == {
        "birds": {"rows": 5, "jobs_in_flight": 0},
        DEFAULT_PROJECT: {},
        "fish": {},
    }
    await limit_project(projects, "birds", {"rows": None, "jobs_in_flight": None})
    assert await own_quotas(projects) == {}


async def test_only_a_project_that_is_there_can_be_limited(projects: Store) -> None:
    with pytest.raises(ProjectNotFound):
        await limit_project(projects, "bees", {"rows": 5})
    with pytest.raises(InvalidInput):
        await limit_project(projects, "birds", {"row": 5})
    assert await own_quotas(projects) == {}


async def queued(store: Store, caller: Caller) -> JobId:
    async with store.project_unit(caller) as unit:
        return await added(unit, gold=[b'"yes"', b'"no"'])


async def usage(store: Store, caller: Caller) -> Holdings:
    async with store.project_unit(caller) as unit:
        return await unit.account.usage()


async def own_quotas(store: Store) -> dict[str, int]:
    async with store.project_unit(BIRDS) as unit:
        return dict(await unit.account.overrides())
