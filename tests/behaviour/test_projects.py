"""Objects of one project do not exist for another, by whichever method they are requested."""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import product
from typing import Any

import pytest

from service.access.issuing import create_key
from service.errors import JobNotFound, TrainingNotFinished, TrainingNotFound
from service.identifiers import JobId, KeyId, ProjectName, new_dataset_id, new_job_id, new_training_id
from service.ports import store as ports
from service.ports.store import ProjectUnit, Store
from service.ports.trainings import Trainings
from service.records.access import AuditAction, AuditEntry, Caller, Scope
from service.records.scoring import BackendIdentity
from tests.support.stored import added, asked_for_training, claimed, finish, label_state, write

BIRDS, FISH = Caller(project=ProjectName("birds")), Caller(project=ProjectName("fish"))


async def everything_of(stream: Any) -> list[Any]:
    return [item async for item in stream]


# Every way to ask the store about a job; a new one belongs here.
ASKING: dict[str, Callable[[ProjectUnit, JobId], Awaitable[Any]]] = {
    "jobs.get": lambda unit, job_id: unit.jobs.get(job_id),
    "jobs.request_cancel": lambda unit, job_id: unit.jobs.request_cancel(job_id),
    "jobs.pause": lambda unit, job_id: unit.jobs.pause(job_id),
    "jobs.resume": lambda unit, job_id: unit.jobs.resume(job_id),
    "jobs.remove": lambda unit, job_id: unit.jobs.remove(job_id),
    "jobs.columns": lambda unit, job_id: unit.jobs.columns(job_id),
    "jobs.summaries": lambda unit, job_id: unit.jobs.summaries(job_id),
    "jobs.arrow_schema": lambda unit, job_id: unit.jobs.arrow_schema(job_id),
    "labels.page": lambda unit, job_id: unit.labels.page(job_id, limit=9, after=None, by_confidence=False),
    "labels.page by confidence": lambda unit, job_id: unit.labels.page(job_id, limit=9, after=None, by_confidence=True),
    "labels.result": lambda unit, job_id: everything_of(unit.labels.result(job_id)),
    "gold.pairs": lambda unit, job_id: everything_of(unit.gold.pairs(job_id)),
    "events.after": lambda unit, job_id: unit.events.after(job_id, 0, limit=9),
    "events.append": lambda unit, job_id: unit.events.append(job_id, "note", {}),
}

UNDER_WAY = {"jobs.request_cancel", "jobs.pause", "jobs.resume"}  # asked of a job that has not ended


def test_every_way_to_ask_about_a_job_is_tried_here() -> None:
    parts = {"jobs": ports.Jobs, "labels": ports.LabelsRead, "gold": ports.Gold, "events": ports.Events}
    rest = {"datasets", "idempotency", "account", "audit", "backends", "webhooks"}  # not asked by a job's id
    rest |= {"trainings"}  # see below
    assert set(ports.ProjectUnit.__annotations__) == set(parts) | rest
    ways = {
        f"{name}.{method}"
        for name, part in parts.items()
        for method, function in inspect.getmembers(part, inspect.isfunction)
        if "job_id" in inspect.signature(function).parameters
    }
    assert {asked.partition(" ")[0] for asked in ASKING} == ways


@pytest.fixture
async def projects(store: Store) -> Store:
    """A store that has two projects."""
    for caller in (BIRDS, FISH):
        await create_key(store, project=caller.project, name="a", scopes=[Scope.READ])
    return store


@pytest.mark.parametrize("ended", [False, True])
async def test_another_projects_job_is_as_unknown_as_one_that_never_existed(projects: Store, ended: bool) -> None:
    job_id = await queued_by(projects, BIRDS, ended=ended)
    foreign, unknown = [
        {asked: await answer(projects, FISH, asked, wanted) for asked in ASKING} for wanted in (job_id, new_job_id())
    ]
    assert foreign == unknown


async def test_a_project_finds_its_own_job(projects: Store) -> None:
    for asked in sorted(ASKING, key=UNDER_WAY.__contains__):  # what is left queued would be claimed by those behind
        job_id = await queued_by(projects, BIRDS, ended=asked not in UNDER_WAY)
        assert await answer(projects, BIRDS, asked, job_id) != "JobNotFound there is no job ID", asked


async def test_another_projects_training_is_as_unknown_as_one_that_never_existed(projects: Store) -> None:
    ways = {name for name, way in inspect.getmembers(Trainings, inspect.isfunction) if name[0] != "_"}
    asked_by_id = ways - {"add", "page", "labelled_by"}
    assert asked_by_id == {"get", "report", "request_cancel", "pause", "resume", "hold", "remove"}
    training_id, job_id = await asked_for_training(projects, BIRDS), await queued_by(projects, FISH)
    for asked, unknown in product(sorted(asked_by_id), (training_id, new_training_id(), job_id)):
        with pytest.raises(TrainingNotFound):
            async with projects.project_unit(FISH) as unit:
                await getattr(unit.trainings, asked)(unknown)
    async with projects.project_unit(BIRDS) as unit:
        assert (await unit.trainings.get(training_id)).status == "queued"
    async with projects.project_unit(FISH) as unit:
        assert await unit.trainings.page(limit=9, before=None, status=None) == []


async def test_a_worker_finds_trainings_of_its_jobs_project_alone(projects: Store) -> None:
    own, foreign = [await asked_for_training(projects, caller) for caller in (BIRDS, FISH)]
    await queued_by(projects, BIRDS)
    shard = await claimed(projects)
    for training_id, error in ((own, TrainingNotFinished), (foreign, TrainingNotFound)):
        with pytest.raises(error):
            async with projects.worker_unit() as unit:
                await unit.trainings.finished(shard.lease, training_id)


async def test_the_backend_that_labelled_a_job_is_shown_to_its_own_project_alone(projects: Store) -> None:
    async with projects.project_unit(BIRDS) as unit:
        job_id = await added(unit, backend=await unit.backends.recognized(BackendIdentity("vllm|base|1|0.33")))
    told = []
    for caller in (BIRDS, FISH):
        async with projects.project_unit(caller) as unit:
            told.append(await unit.trainings.labelled_by([job_id, new_job_id()]))
    assert told == [{job_id: "vllm|base|1|0.33"}, {}]


async def test_no_request_of_another_project_changes_a_job(projects: Store) -> None:
    job_id = await queued_by(projects, BIRDS, ended=True)
    before = await snapshot(projects, job_id)
    for asked in ASKING:
        await answer(projects, FISH, asked, job_id)
    assert await snapshot(projects, job_id) == before


async def test_lists_have_the_projects_own_jobs_only(projects: Store) -> None:
    birds = [await queued_by(projects, BIRDS) for _ in range(2)]
    fish = [await queued_by(projects, FISH)]
    assert {BIRDS: set(birds), FISH: set(fish)} == {
        caller: set(await listed(projects, caller)) for caller in (BIRDS, FISH)
    }
    assert await listed(projects, Caller(project=ProjectName("none"))) == []


async def test_an_idempotency_key_means_something_else_to_every_project(projects: Store) -> None:
    first, second = new_job_id(), new_job_id()
    async with projects.project_unit(BIRDS) as unit:
        assert await unit.idempotency.claim("k", "sha", first) is None
    async with projects.project_unit(FISH) as unit:
        assert await unit.idempotency.claim("k", "sha", second) is None
    for caller, job_id in ((BIRDS, first), (FISH, second)):
        async with projects.project_unit(caller) as unit:
            stored = await unit.idempotency.claim("k", "sha", new_job_id())
            assert stored is not None
            assert stored.job_id == job_id


async def test_deleting_a_job_leaves_other_projects_idempotency_keys_alone(projects: Store) -> None:
    job_id = await queued_by(projects, BIRDS, ended=True)
    async with projects.project_unit(FISH) as unit:
        await unit.idempotency.claim("k", "sha", new_job_id())
    async with projects.project_unit(BIRDS) as unit:
        await unit.idempotency.claim("k", "sha", job_id)
        await unit.jobs.remove(job_id)
        assert await unit.idempotency.claim("k", "sha", job_id) is None
    async with projects.project_unit(FISH) as unit:
        assert await unit.idempotency.claim("k", "sha", new_job_id()) is not None


async def test_rows_cannot_be_put_into_another_projects_data_set(projects: Store) -> None:
    job_id = await queued_by(projects, BIRDS)
    async with projects.project_unit(BIRDS) as unit:
        dataset_id = (await unit.jobs.get(job_id)).dataset_id
    for wanted in (dataset_id, new_dataset_id()):
        with pytest.raises(LookupError):
            async with projects.project_unit(FISH) as unit:
                await unit.datasets.add_rows(wanted, [])


async def test_workers_take_jobs_of_all_projects(projects: Store) -> None:
    queued = {await queued_by(projects, BIRDS), await queued_by(projects, FISH)}
    taken = {(await claimed(projects)).lease.job_id for _ in range(2)}
    assert taken == queued


async def test_an_audit_entry_commits_with_its_action_or_not_at_all(projects: Store) -> None:
    caller = Caller(project=BIRDS.project, key_id=KeyId("k"), request_id="r")
    entry = AuditEntry.by(caller, AuditAction.JOB_DELETED, "job_1")
    with suppress(ZeroDivisionError):
        async with projects.project_unit(caller) as unit:
            await unit.audit.record(entry)
            raise ZeroDivisionError
    async with projects.project_unit(caller) as unit:
        assert unit.audit.recorded == []
        await unit.audit.record(entry)
        assert unit.audit.recorded == [entry]
    async with projects.access_unit() as unit:
        found = await unit.audit.latest(limit=1)
    assert [(e.action, e.target, e.project, e.key_id, e.request_id) for e in found] == [
        (entry.action, entry.target, entry.project, entry.key_id, entry.request_id)
    ]
    assert found[0].at is not None


async def queued_by(store: Store, caller: Caller, *, ended: bool = False) -> JobId:
    async with store.project_unit(caller) as unit:
        job_id = await added(unit, gold=[b'"yes"', b'"no"'])
    if ended:
        shard = await claimed(store)
        await write(store, shard, label_state(0), label_state(1))
        await finish(store, shard)
    return job_id


async def answer(store: Store, caller: Caller, asked: str, job_id: JobId) -> str:
    """The returned value as text, with the id removed."""
    try:
        async with store.project_unit(caller) as unit:
            return repr(await ASKING[asked](unit, job_id)).replace(job_id, "ID")
    except JobNotFound as error:
        return f"{type(error).__name__} {error}".replace(job_id, "ID")


async def snapshot(store: Store, job_id: JobId) -> str:
    async with store.project_unit(BIRDS) as unit:
        states = await everything_of(unit.labels.result(job_id))
        return repr((await unit.jobs.get(job_id), await unit.events.after(job_id, 0, limit=99), states))


async def listed(store: Store, caller: Caller) -> list[JobId]:
    async with store.project_unit(caller) as unit:
        return [job.id for job in await unit.jobs.page(limit=9, before=None, status=None)]
