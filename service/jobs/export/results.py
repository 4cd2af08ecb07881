"""Streams the labelled data set of a job: the user's columns in their order, then the result's columns."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import orjson
from anyio import to_thread

from service.errors import Fault, InvalidInput, JobNotFinished, JobNotFound
from service.identifiers import JobId
from service.jobs.checks.survey import RAW_PROBABILITY
from service.jobs.export.encoder import Encoder
from service.ports.store import ProjectStore
from service.records.access import AuditAction, AuditEntry
from service.records.jobs import Job, JobStatus
from service.records.labels import LabeledRow
from service.result_formats import RESULT_COLUMNS, ResultFormat

_BATCH_ROWS = 2_000
_BATCH_BYTES = 1_000_000  # a download holds a few batches in memory, even if its client reads nothing

Fields = dict[str, Any]


# The encoder of each format is in the module with the format's name.
ENCODERS: Mapping[ResultFormat, type[Encoder]] = {
    form: import_module(f"service.jobs.export.{form}_encoder").ENCODER for form in ResultFormat
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A labelled data set that the caller may download."""

    job: Job
    columns: tuple[str, ...]
    gold_field: str | None
    raw_probability: bool = False  # whether the result has a column of it, the last one
    arrow_schema: bytes | None = None  # the columns' types in the user's Parquet file

    @property
    def added_columns(self) -> tuple[str, ...]:
        """The result's columns, which follow the user's own."""
        return (*RESULT_COLUMNS, RAW_PROBABILITY) if self.raw_probability else RESULT_COLUMNS

    @property
    def is_complete(self) -> bool:
        """Whether the result is final."""
        return self.job.status is JobStatus.SUCCEEDED


async def find_result(store: ProjectStore, job_id: JobId, *, partial: bool, raw_probability: bool = False) -> Result:
    """The result, if the caller may download it; that of a failed or cancelled job only if `partial`.

    Raises JobNotFound, JobNotFinished, and InvalidInput if the data set already has a column of the name that
    `raw_probability` needs.
    """
    async with store.project_unit() as unit:
        job = await unit.jobs.get(job_id)
        columns, gold_field = await unit.jobs.columns(job_id)
        arrow_schema = await unit.jobs.arrow_schema(job_id)
    if not job.status.is_final:
        raise JobNotFinished(f"the job is {job.status}; its result can be downloaded once it has succeeded")
    if job.status is not JobStatus.SUCCEEDED and not partial:
        raise JobNotFinished(f"the job was not finished: it is {job.status}; partial=true gives what there is")
    if raw_probability and RAW_PROBABILITY in columns:
        message = f"the data set has a column {RAW_PROBABILITY!r} of its own; download the result without it"
        raise InvalidInput("the result cannot be given so", [Fault(message, field="raw_probability")])
    return Result(
        job=job,
        columns=columns,
        gold_field=gold_field,
        raw_probability=raw_probability,
        arrow_schema=arrow_schema,
    )


async def note_download(store: ProjectStore, result: Result) -> None:
    """Record the download in the audit log."""
    async with store.project_unit() as unit:
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.RESULT_DOWNLOADED, result.job.id))


async def stream_result(
    store: ProjectStore, result: Result, form: ResultFormat, *, formula_safe: bool = False
) -> AsyncGenerator[bytes, None]:
    """Stream the result's bytes from the database to the client, without ever holding all of it in memory.

    `formula_safe` is for formats of spreadsheets: it puts an apostrophe in front of text that would run as a formula.
    """
    encoder = ENCODERS[form](
        result.columns, result.added_columns, formula_safe=formula_safe, arrow_schema=result.arrow_schema
    )
    async with aclosing(_encode(store, result, encoder)) as parts:  # if the client leaves, all generators end at once
        async for part in parts:
            if part:
                yield part


async def batches_of(store: ProjectStore, job: Job) -> AsyncGenerator[list[LabeledRow], None]:
    """The rows in batches of bounded size. Raises JobNotFound if the job is deleted meanwhile.

    Each batch is a unit of work of its own, so that a client which reads slowly or not at all occupies no
    database connection. The rows of a finished job do not change between two units.
    """
    given = 0
    last: int | None = None
    while batch := await _batch_after(store, job.id, last):
        given += len(batch)
        last = batch[-1].state.position
        yield batch
    if given < job.progress.rows:
        raise JobNotFound("the job was removed while its result was downloaded")


async def _batch_after(store: ProjectStore, job_id: JobId, position: int | None) -> list[LabeledRow]:
    batch: list[LabeledRow] = []
    size = 0
    async with (
        store.project_unit() as unit,
        aclosing(unit.labels.result(job_id, after=position, limit=_BATCH_ROWS)) as rows,
    ):
        async for row in rows:
            batch.append(row)
            size += len(row.data)
            if size >= _BATCH_BYTES:
                break
    return batch


async def _encode(store: ProjectStore, result: Result, encoder: Encoder) -> AsyncGenerator[bytes, None]:
    if encoder.reads_twice:
        async with aclosing(batches_of(store, result.job)) as batches:
            async for batch in batches:
                await to_thread.run_sync(lambda rows: encoder.look_at(_all_fields(result, rows)), batch)
    yield await to_thread.run_sync(encoder.header)
    async with aclosing(batches_of(store, result.job)) as batches:
        async for batch in batches:
            yield await to_thread.run_sync(lambda rows: encoder.encode(_all_fields(result, rows)), batch)
    yield await to_thread.run_sync(encoder.footer)


def result_fields(result: Result, row: LabeledRow) -> Fields:
    """One row of the result, with its gold value back in its column."""
    given: Fields = orjson.loads(row.data)
    if row.gold is not None and result.gold_field is not None:
        given[result.gold_field] = orjson.loads(row.gold)
    state = row.state
    label = None if state.label is None else result.job.config.task.labels[state.label]
    added = (label, state.confidence, state.margin, state.status.value, state.raw_probability)
    return {
        **{column: given[column] for column in result.columns if column in given},
        **dict(zip(result.added_columns, added, strict=False)),  # `added_columns` has the last one only on request
    }


def _all_fields(result: Result, rows: Sequence[LabeledRow]) -> list[Fields]:
    return [result_fields(result, row) for row in rows]
