"""Helpers for tests of the store: jobs, shards and trainings with defaults for everything but the point of a test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from service.config import JobConfig, Task
from service.identifiers import BackendId, JobId, Label, Row, WorkerId, new_dataset_id, new_job_id, new_training_id
from service.ports.store import ProjectUnit, Store
from service.records.access import LOCAL_CALLER, Caller
from service.records.jobs import (
    Backoff,
    ClaimedShard,
    Event,
    Job,
    JobStatus,
    ListedJob,
    NewDataset,
    NewJob,
    NewRow,
    NewShard,
    PauseReason,
    Progress,
    SearchPace,
    TrainingPace,
)
from service.records.labels import LabelState, LabelStatus
from service.records.trainings import Artifact, NewTraining
from service.records.work import UNKNOWN_ORIGIN, ClaimedWork, Origin, WorkKind, WorkStatus
from service.search.predictions.prompt_tree import Usage
from tests.support.claiming import claim_shard

ALICE, BOB = WorkerId("alice"), WorkerId("bob")
LONG = 60.0  # seconds of a lease that does not expire during a test
NO_TIME = -0.001  # seconds of a lease that has expired when it is given
PATIENT, NOTHING = Backoff(), Usage()
AT_ONCE = Backoff(0.0, 0.0)
# The error of a job that a person has paused.
ON_REQUEST = {"code": "requested", "message": "paused on request; the job goes on once it is resumed"}
CONFIG = JobConfig(name="sums", task=Task(template="{sum}", gold_field="gold"))

# The Arrow schema of a Parquet file with these two columns.
ARROW_TYPES = pa.schema([("sum", pa.string()), ("gold", pa.string())]).serialize().to_pybytes()


async def queued(
    store: Store,
    *shard_rows: int,
    anchor: bool = False,
    gold: Sequence[bytes | None] = (),
    backend: BackendId | None = None,
    config: JobConfig = CONFIG,
) -> JobId:
    """Store a job with shards of these sizes (default: one of two rows); with an anchor, later ones wait for it."""
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await added(unit, *shard_rows, anchor=anchor, gold=gold, backend=backend, config=config)


async def added(
    unit: ProjectUnit,
    *shard_rows: int,
    anchor: bool = False,
    gold: Sequence[bytes | None] = (),
    backend: BackendId | None = None,
    origin: Origin = UNKNOWN_ORIGIN,
    config: JobConfig = CONFIG,
) -> JobId:
    """The same as `queued`, within an open unit of work."""
    sizes = shard_rows or (2,)
    shard_of = [index for index, size in enumerate(sizes) for _ in range(size)]
    golds = [*gold, *[None] * (len(shard_of) - len(gold))]
    dataset = NewDataset(
        id=new_dataset_id(),
        columns=("sum", "gold"),
        gold_field="gold",
        rows=len(shard_of),
        sha256="0" * 64,
        arrow_schema=ARROW_TYPES,
    )
    rows = [
        NewRow(position=Row(i), id=f"row-{i}", data=b'{"sum":"%d"}' % i, gold=golds[i], shard=shard)
        for i, shard in enumerate(shard_of)
    ]
    job = NewJob(id=new_job_id(), dataset_id=dataset.id, config=config, backend_id=backend, origin=origin)
    shards = [NewShard(index=i, rows=size, blocked=anchor and i > 0) for i, size in enumerate(sizes)]
    await unit.datasets.add(dataset)
    await unit.datasets.add_rows(dataset.id, rows)
    await unit.jobs.add(job, shards)
    return job.id


async def claim(store: Store, worker: WorkerId = ALICE, lease_seconds: float = LONG) -> ClaimedShard | None:
    async with store.worker_unit() as unit:
        return await claim_shard(unit, worker, lease_seconds)


async def claimed(store: Store, worker: WorkerId = ALICE, lease_seconds: float = LONG) -> ClaimedShard:
    found = await claim(store, worker, lease_seconds)
    assert found is not None
    return found


async def claim_work(store: Store, *kinds: WorkKind, lease_seconds: float = LONG) -> ClaimedWork | None:
    """Lease a work item of one of these kinds to Alice."""
    async with store.worker_unit() as unit:
        return await unit.work.claim(kinds or (WorkKind.LABEL,), ALICE, lease_seconds)


def new_training(**models: JobId) -> NewTraining:
    """A training of two rows, about to be stored, that needs these models."""
    return NewTraining(
        id=new_training_id(),
        config={"job_ids": ["job_0"]},
        base="default",
        spec={"kind": "label"},
        rows=2,
        examples=Artifact("e" * 64, 20),
        models=models,
    )


async def asked_for_training(store: Store, caller: Caller = LOCAL_CALLER, **models: JobId) -> JobId:
    """Such a training, stored and queued."""
    new = new_training(**models)
    async with store.project_unit(caller) as unit:
        await unit.trainings.add(new)
    return new.id


async def trained(store: Store, **models: JobId) -> JobId:
    """A training that needs these models and that a worker has finished."""
    training_id = await asked_for_training(store, LOCAL_CALLER, **models)
    work = await claim_work(store, WorkKind.TRAIN)
    assert work is not None
    async with store.worker_unit() as unit:
        await unit.trainings.finish(work.lease, Artifact("a" * 64, 7), manifest={}, report={})
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED)
    return training_id


async def save(store: Store, shard: ClaimedShard, checkpoint: bytes = b"one", **progress: Any) -> None:
    async with store.worker_unit() as unit:
        await unit.shards.save(shard.lease, checkpoint=checkpoint, progress=Progress(**progress))


async def set_pace(store: Store, shard: ClaimedShard, pace: SearchPace | TrainingPace | None) -> None:
    async with store.worker_unit() as unit:
        await unit.shards.set_pace(shard.lease, pace)


async def finish(
    store: Store,
    shard: ClaimedShard,
    status: WorkStatus = WorkStatus.SUCCEEDED,
    *,
    summary: Mapping[str, Any] | None = None,
) -> JobStatus:
    async with store.worker_unit() as unit:
        if summary is not None:
            await unit.shards.summarize(shard.lease, summary)
        return await unit.work.finish(shard.lease, status, summary=summary)


async def release(store: Store, shard: ClaimedShard, *, delay_seconds: float = 0.0, crashed: bool = False) -> None:
    async with store.worker_unit() as unit:
        await unit.work.release(shard.lease, delay_seconds=delay_seconds, crashed=crashed)


async def pause(
    store: Store, shard: ClaimedShard, *, backoff: Backoff = PATIENT, at_least_seconds: float = 0.0
) -> None:
    """Report the backend of the shard's job as away; workers retry after 5 seconds, then 10, 20 and so on."""
    async with store.worker_unit() as unit:
        await unit.work.pause(
            shard.lease,
            PauseReason.BACKEND_UNAVAILABLE,
            "away",
            tried=shard.paused,
            backoff=backoff,
            at_least_seconds=at_least_seconds,
        )


async def outage(store: Store, shard: ClaimedShard, backoff: Backoff = AT_ONCE) -> None:
    """Report the backend of the shard's job as away; workers may retry at once."""
    await pause(store, shard, backoff=backoff)


async def resume(store: Store, shard: ClaimedShard) -> None:
    async with store.worker_unit() as unit:
        await unit.work.resume(shard.lease)


async def spend(store: Store, shard: ClaimedShard, usage: Usage = NOTHING, *, remembered: int = 0) -> None:
    async with store.worker_unit() as unit:
        await unit.shards.spend(shard.lease, usage, remembered=remembered)


async def renew(store: Store, shard: ClaimedShard) -> bool:
    async with store.worker_unit() as unit:
        return await unit.work.renew(shard.lease, LONG)


async def write(store: Store, shard: ClaimedShard, *states: LabelState) -> None:
    async with store.worker_unit() as unit:
        await unit.labels.write(shard.lease, states)


async def cancel(store: Store, job_id: JobId) -> ListedJob:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.jobs.request_cancel(job_id)


async def put_on_hold(store: Store, job_id: JobId) -> ListedJob:
    """Pause the job on a person's request."""
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.jobs.pause(job_id)


async def let_go_on(store: Store, job_id: JobId) -> ListedJob:
    """Resume the job on a person's request."""
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.jobs.resume(job_id)


async def job(store: Store, job_id: JobId) -> Job:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.jobs.get(job_id)


async def everything(store: Store, job_id: JobId) -> tuple[Job, list[Event]]:
    """The job and its log, without the estimate of the time left, which changes with the clock."""
    found = await job(store, job_id)
    return replace(found, progress=replace(found.progress, eta_seconds=None)), await events(store, job_id)


async def seconds_of(store: Store, job_id: JobId) -> float:
    async with store.worker_unit() as unit:
        return (await unit.shards.job_totals(job_id))[1]


async def events(store: Store, job_id: JobId, after: int = 0) -> list[Event]:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.events.after(job_id, after, limit=1000)


async def event_types(store: Store, job_id: JobId) -> list[str]:
    return [event.type for event in await events(store, job_id)]


def label_state(position: int, label: int | None = 0, confidence: float | None = 0.9) -> LabelState:
    return LabelState(
        position=Row(position),
        label=None if label is None else Label(label),
        confidence=confidence,
        margin=None if confidence is None else 1.5,
        status=LabelStatus.LABELED if label is not None else LabelStatus.UNLABELED,
        raw_probability=None if confidence is None else confidence / 2,
    )
