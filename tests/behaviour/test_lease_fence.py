"""A worker that lost its lease, having slept for example, changes nothing any more."""

from collections.abc import Awaitable, Callable

import pytest

from service.errors import LeaseLost
from service.identifiers import BackendId, new_training_id
from service.ports.store import Store, WorkerUnit
from service.records.access import LOCAL_CALLER
from service.records.jobs import Backoff, PauseReason, Progress, TrainingPace
from service.records.scoring import BackendIdentity
from service.records.trainings import Artifact
from service.records.work import Lease, WorkStatus
from service.search.predictions.prompt_tree import Usage
from service.search.prompting.recall import PromptKey
from tests.support.stored import (
    ALICE,
    BOB,
    LONG,
    NO_TIME,
    claimed,
    everything,
    finish,
    label_state,
    queued,
    save,
    write,
)

Write = Callable[[WorkerUnit, Lease], Awaitable[object]]

WRITES: dict[str, Write] = {
    "renew": lambda unit, lease: unit.work.renew(lease, LONG),
    "save": lambda unit, lease: unit.shards.save(lease, checkpoint=b"zombie", progress=Progress(labeled=9)),
    "finish": lambda unit, lease: unit.work.finish(lease, WorkStatus.SUCCEEDED),
    "fail": lambda unit, lease: unit.work.finish(lease, WorkStatus.FAILED, error={"code": "x", "message": "y"}),
    "release": lambda unit, lease: unit.work.release(lease),
    "crash": lambda unit, lease: unit.work.release(lease, crashed=True),
    "labels": lambda unit, lease: unit.labels.write(lease, [label_state(0, 1)]),
    "no labels": lambda unit, lease: unit.labels.write(lease, []),
    "spend": lambda unit, lease: unit.shards.spend(lease, Usage(prompts=9), remembered=9),
    "checkpoint": lambda unit, lease: unit.work.save(lease, b"zombie"),
    "crashes": lambda unit, lease: unit.shards.note_server_crashes(lease, {"00": 1}),
    "summary": lambda unit, lease: unit.shards.summarize(lease, {"phase": "zombie"}),
    "pace": lambda unit, lease: unit.shards.set_pace(
        lease, TrainingPace(since_seconds=0.0, tokens_read=9, tokens_left=9)
    ),
    "warning": lambda unit, lease: unit.work.warn(lease, "zombie"),
    "pause": lambda unit, lease: unit.work.pause(
        lease, PauseReason.BACKEND_UNAVAILABLE, "away", tried=False, backoff=Backoff(), at_least_seconds=0.0
    ),
    "resume": lambda unit, lease: unit.work.resume(lease),
    "backend": lambda unit, lease: unit.backends.of_job(lease, BackendIdentity("another")),
    "answers": lambda unit, lease: unit.answers.record(lease, BackendId(1), {PromptKey(b"k" * 16): (-0.5, -0.9)}),
    "no answers": lambda unit, lease: unit.answers.record(lease, BackendId(1), {}),
    "event": lambda unit, lease: unit.events.append(lease, "zombie", {}),
    "progress of a training": lambda unit, lease: unit.trainings.progress(lease, {"step": 9}),
    "checkpoint of a training": lambda unit, lease: unit.trainings.save(lease, Artifact("z" * 64, 9)),
    "end of a training": lambda unit, lease: unit.trainings.finish(
        lease, Artifact("z" * 64, 9), manifest={}, report={}
    ),
    "order of a training": lambda unit, lease: unit.trainings.order(lease),
    "another training": lambda unit, lease: unit.trainings.finished(lease, new_training_id()),
}


async def test_a_zombie_writes_nothing_once_another_worker_has_the_shard(store: Store) -> None:
    job_id = await queued(store)
    zombie = await claimed(store, ALICE, NO_TIME)
    successor = await claimed(store, BOB)
    await save(store, successor, b"mine", labeled=1)
    await write(store, successor, label_state(0, 0))
    before = await everything(store, job_id)
    assert await accepted_writes(store, zombie.lease) == []
    assert await everything(store, job_id) == before
    async with store.worker_unit() as unit:
        assert await unit.labels.of_shard(job_id, 0) == {0: 0}
        assert await unit.work.renew(successor.lease, LONG) is False


async def test_a_zombie_writes_nothing_once_the_shard_is_finished(store: Store) -> None:
    job_id = await queued(store)
    shard = await claimed(store)
    await finish(store, shard)
    before = await everything(store, job_id)
    assert await accepted_writes(store, shard.lease) == []
    assert await everything(store, job_id) == before


async def test_a_lost_lease_takes_back_everything_its_unit_of_work_did(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    good, lost = await claimed(store, ALICE), await claimed(store, ALICE, NO_TIME)
    await claimed(store, BOB)
    with pytest.raises(LeaseLost):
        await write_under_both(store, good.lease, lost.lease)
    async with store.worker_unit() as unit:
        assert await unit.labels.of_shard(job_id, 0) == {}


async def test_nobody_holds_a_shard_of_a_job_that_was_removed(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    failing, running = await claimed(store), await claimed(store)
    await finish(store, failing, WorkStatus.FAILED)
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.jobs.remove(job_id)
    assert await accepted_writes(store, running.lease) == []


async def accepted_writes(store: Store, lease: Lease) -> list[str]:
    """The names of the writes that the store does not refuse under this lease."""
    accepted = []
    for name, zombie_write in WRITES.items():
        try:
            async with store.worker_unit() as unit:
                await zombie_write(unit, lease)
        except LeaseLost:
            continue
        accepted.append(name)
    return accepted


async def write_under_both(store: Store, good: Lease, lost: Lease) -> None:
    async with store.worker_unit() as unit:
        await unit.labels.write(good, [label_state(0, 1)])
        await unit.labels.write(lost, [label_state(1, 1)])
