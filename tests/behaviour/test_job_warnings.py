"""What was doubtful about a job when it was made stays with it."""

from dataclasses import replace

from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from tests.golden.case import submitted
from tests.support.stored import claimed, job, label_state, queued, write

CONFIG = {"task": {"template": "{q} is"}}


async def test_a_job_keeps_its_warnings(store: Store) -> None:
    job_id = await submitted(store, CONFIG, [{"q": "a"}, {"q": "a"}, {"q": "b"}])
    async with store.project_unit(LOCAL_CALLER) as unit:
        stored = await unit.jobs.get(job_id)
        [listed] = await unit.jobs.page(limit=10, before=None, status=None)
    relations, repeated = stored.warnings
    assert "no relations" in relations
    assert repeated == "1 row reads exactly like an earlier row"
    assert listed.warnings == stored.warnings


async def test_a_warning_of_a_worker_joins_those_of_the_job(store: Store) -> None:
    job_id = await submitted(store, CONFIG, [{"q": "a"}, {"q": "b"}])
    before = (await job(store, job_id)).warnings
    shard = await claimed(store)
    async with store.worker_unit() as unit:
        await unit.work.warn(shard.lease, "1 row is unlabeled")
    assert (await job(store, job_id)).warnings == (*before, "1 row is unlabeled")


async def test_why_a_row_has_no_label_is_kept_and_read_by_shard(store: Store) -> None:
    job_id = await queued(store, 2, 2)
    shard = await claimed(store)
    nameless = replace(label_state(1, None, None), reason="the server fails on it")
    await write(store, shard, label_state(0), nameless)
    async with store.worker_unit() as unit:
        assert await unit.labels.unscorable(job_id, 0) == {1: "the server fails on it"}
        assert await unit.labels.unscorable(job_id, 1) == {}
    async with store.project_unit(LOCAL_CALLER) as unit:
        states = [row.state async for row in unit.labels.result(job_id)]
    assert [state.reason for state in states] == [None, "the server fails on it", None, None]
