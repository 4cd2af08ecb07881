"""Submits a job: first checks everything, then stores and queues it in one transaction."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import orjson
from anyio import to_thread

from service.access.admission import admit, refuse_early
from service.config import JobConfig
from service.errors import IdempotencyMismatch
from service.identifiers import DatasetId, Row, new_dataset_id, new_job_id
from service.jobs.checks.earlier_results import without_earlier_results
from service.jobs.checks.reward_models import chosen_reward_model
from service.jobs.checks.rows import FaultLog, RowSource, in_chunks
from service.jobs.models import models_of
from service.jobs.submission.job_warnings import warnings_of
from service.jobs.submission.preparation import Preparation, prepare
from service.ports.scoring import Scorers
from service.ports.store import ProjectStore, ProjectUnit
from service.records.access import AuditAction, AuditEntry, Size
from service.records.jobs import Job, NewDataset, NewJob, NewRow, StoredRequest
from service.records.scoring import BackendIdentity
from service.records.work import Origin
from service.spans import current_traceparent, span
from service.values import as_text

_CHUNK_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The job, and whether an earlier request with the same Idempotency-Key has created it."""

    job: Job
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Request:
    """The Idempotency-Key of a request, and the hash of its content."""

    key: str
    sha256: str


async def submit(
    config: JobConfig,
    source: RowSource,
    store: ProjectStore,
    scorers: Scorers,
    *,
    idempotency_key: str | None,
) -> Receipt:
    """Check, store and queue a job; stores nothing if there is any fault.

    A repeated request gets the existing job at once, without any check of rows or backend.

    Raises InvalidConfig, InvalidDataset, PayloadTooLarge, UnsupportedFormat, ModelNotFound, BackendError,
    IdempotencyMismatch, QuotaExceeded and StorageUnavailable.
    """
    source = without_earlier_results(source, config.earlier_results)
    with span("job.submit", {"icm.project": store.caller.project}) as current:
        data_sha256 = await to_thread.run_sync(source.sha256)
        request = None if idempotency_key is None else _Request(idempotency_key, request_sha256(config, data_sha256))
        receipt = await _replayed(store, request)
        if receipt is None:
            reward = await chosen_reward_model(config, store, scorers)
            scorers = await models_of(config.model, store, scorers)
            prepared = await prepare(config, source, scorers, reward)
            backend = None if prepared.rewarded else await scorers.get(config.model).identify()
            dataset = _new_dataset(prepared, data_sha256)
            receipt = await _store(prepared, source, store, dataset, backend=backend, request=request)
        job = receipt.job
        known = {} if config.method.asks_rewards else {"icm.backend": config.model}  # a known name
        current.set_attributes({"icm.job": job.id, **known, "icm.data.rows": job.progress.rows})
        return receipt


async def _replayed(store: ProjectStore, request: _Request | None) -> Receipt | None:
    """The job that an earlier request with this key has created, if any. Raises IdempotencyMismatch."""
    if request is None:
        return None
    async with store.project_unit() as unit:
        stored = await unit.idempotency.find(request.key)
        return None if stored is None else await _receipt(unit, stored, request)


async def _receipt(unit: ProjectUnit, stored: StoredRequest, request: _Request) -> Receipt:
    if stored.sha256 != request.sha256:
        raise IdempotencyMismatch("this Idempotency-Key was used for another configuration or data set")
    return Receipt(job=await unit.jobs.get(stored.job_id), replayed=True)


async def _store(
    prepared: Preparation,
    source: RowSource,
    store: ProjectStore,
    dataset: NewDataset,
    *,
    backend: BackendIdentity | None,
    request: _Request | None,
) -> Receipt:
    """Store and queue the prepared job in one unit of work; if a concurrent request was faster, return its job."""
    warnings = await to_thread.run_sync(warnings_of, prepared)
    job = _new_job(prepared.config, dataset.id, store, warnings)
    async with store.project_unit() as unit:
        if request is not None:
            earlier = await unit.idempotency.claim(request.key, request.sha256, job.id)
            if earlier is not None:
                return await _receipt(unit, earlier, request)
        await refuse_early(unit, store.quotas, Size(rows=prepared.survey.rows, bytes=0))
        await unit.datasets.add(dataset)
        size = await _store_rows(unit, job.dataset_id, new_rows(prepared, source))
        await admit(unit, store.quotas, size, job.dataset_id)
        backend_id = None if backend is None else await unit.backends.recognized(backend)
        await unit.jobs.add(replace(job, backend_id=backend_id), prepared.plan.shards)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.JOB_CREATED, job.id))
        return Receipt(job=await unit.jobs.get(job.id), replayed=False)


def _new_job(config: JobConfig, dataset_id: DatasetId, store: ProjectStore, warnings: tuple[str, ...]) -> NewJob:
    origin = Origin(request_id=store.caller.request_id, traceparent=current_traceparent())
    return NewJob(id=new_job_id(), dataset_id=dataset_id, config=config, warnings=warnings, origin=origin)


def _new_dataset(prepared: Preparation, sha256: str) -> NewDataset:
    return NewDataset(
        id=new_dataset_id(),
        columns=prepared.survey.columns,
        gold_field=prepared.config.task.gold_field,
        rows=prepared.survey.rows,
        sha256=sha256,
        arrow_schema=prepared.survey.arrow_schema,
    )


def request_sha256(config: JobConfig, data_sha256: str) -> str:
    """A hash of a request's content: the configuration with all its defaults, and the data set's hash."""
    canonical = orjson.dumps(config.as_json(), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical + b"\0" + data_sha256.encode()).hexdigest()


async def _store_rows(unit: ProjectUnit, dataset_id: DatasetId, rows: Iterator[NewRow]) -> Size:
    """Store the rows chunk by chunk; return their number and total size."""
    count = length = 0
    async for chunk in in_chunks(rows, _CHUNK_ROWS):
        await unit.datasets.add_rows(dataset_id, chunk)
        count += len(chunk)
        length += sum(row.size_bytes for row in chunk)
    return Size(rows=count, bytes=length)


def new_rows(prepared: Preparation, source: RowSource) -> Iterator[NewRow]:
    """The rows to store, with gold separated from the row's data; only results put it back."""
    task = prepared.config.task
    for position, row in enumerate(source.rows(FaultLog(0))):
        fields = dict(row.fields)
        gold = None
        if task.gold_field is not None and task.gold_field in fields:
            gold = orjson.dumps(fields.pop(task.gold_field))
        yield NewRow(
            position=Row(position),
            id=str(position) if task.id_field is None else as_text(fields[task.id_field]),
            data=orjson.dumps(fields),
            gold=gold,
            shard=prepared.plan.shard_of_row[position],
        )
