"""Streams the labelled data set: the user's columns in their order, then what was found."""

import csv
import io
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from anyio import to_thread

from service.entities import AuditAction, AuditEntry, Job, JobStatus, LabeledRow
from service.errors import Fault, InvalidInput, JobNotFinished, JobNotFound
from service.identifiers import JobId
from service.jobs.export_parquet import ColumnKinds, ParquetStream
from service.jobs.survey import RAW_PROBABILITY, RESULT_COLUMNS
from service.ports import Desks

_BATCH_ROWS = 2_000
_BATCH_BYTES = 1_000_000  # of which a download that its reader does not take holds a few
# A cell that begins so is a formula to spreadsheets, or is one once they have dropped white space or width.
_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Fields = dict[str, Any]


class ResultFormat(StrEnum):
    """What a result can be downloaded as."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A labelled data set that may be downloaded."""

    job: Job
    columns: tuple[str, ...]
    gold_field: str | None
    raw_probability: bool = False  # whether it is given in a column of its own, the last one
    arrow_schema: bytes | None = None  # the types that the columns had in the user's Parquet file

    @property
    def found_columns(self) -> tuple[str, ...]:
        """The columns behind the user's own."""
        return (*RESULT_COLUMNS, RAW_PROBABILITY) if self.raw_probability else RESULT_COLUMNS

    @property
    def is_complete(self) -> bool:
        """Whether it will never change again."""
        return self.job.status is JobStatus.SUCCEEDED


async def find_result(store: Desks, job_id: JobId, *, partial: bool, raw_probability: bool = False) -> Result:
    """The result, if it may be downloaded. Raises JobNotFound, JobNotFinished, and InvalidInput where the user has a
    column of the name that `raw_probability` needs.

    What a failed or cancelled job has done is given only where `partial` says that it is wanted.
    """
    async with store.desk() as desk:
        job = await desk.jobs.get(job_id)
        columns, gold_field = await desk.jobs.columns(job_id)
        arrow_schema = await desk.jobs.arrow_schema(job_id)
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


async def note_download(store: Desks, result: Result) -> None:
    """Enter into the audit log that somebody takes the result."""
    async with store.desk() as desk:
        await desk.audit.record(AuditEntry.by(store.caller, AuditAction.RESULT_DOWNLOADED, result.job.id))


async def stream_result(
    store: Desks, result: Result, form: ResultFormat, *, formula_safe: bool = False
) -> AsyncGenerator[bytes, None]:
    """The result's bytes, from the database to the reader without ever holding all of it.

    `formula_safe` is about CSV: text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    match form:
        case ResultFormat.JSONL:
            parts = _encoded(store, result, _as_jsonl)
        case ResultFormat.CSV:
            parts = _csv(store, result, formula_safe=formula_safe)
        case ResultFormat.PARQUET:
            parts = _parquet(store, result)
    async with aclosing(parts):  # a reader who leaves ends all that is behind it at once
        async for part in parts:
            if part:
                yield part


async def _batches(store: Desks, job: Job) -> AsyncGenerator[list[LabeledRow], None]:
    """The rows in lists of bounded size. Raises JobNotFound where the job is removed meanwhile.

    Each list is a unit of work of its own, so that a reader who is slow, or reads nothing at all, holds no
    connection to the database. The rows of a job that has ended do not change between two units.
    """
    given = 0
    last: int | None = None
    while batch := await _batch_behind(store, job.id, last):
        given += len(batch)
        last = batch[-1].state.position
        yield batch
    if given < job.progress.rows:
        raise JobNotFound("the job was removed while its result was downloaded")


async def _batch_behind(store: Desks, job_id: JobId, position: int | None) -> list[LabeledRow]:
    batch: list[LabeledRow] = []
    size = 0
    async with store.desk() as desk, aclosing(desk.labels.result(job_id, after=position, limit=_BATCH_ROWS)) as rows:
        async for row in rows:
            batch.append(row)
            size += len(row.data)
            if size >= _BATCH_BYTES:
                break
    return batch


async def _encoded(
    store: Desks, result: Result, encode: Callable[[Result, list[LabeledRow]], bytes]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(_batches(store, result.job)) as batches:
        async for batch in batches:
            yield await to_thread.run_sync(encode, result, batch)


async def _csv(store: Desks, result: Result, *, formula_safe: bool) -> AsyncGenerator[bytes, None]:
    as_cell = _safe_cell if formula_safe else _cell
    columns = (*result.columns, *result.found_columns)

    def encode(result: Result, rows: list[LabeledRow]) -> bytes:
        lines = [[as_cell(fields.get(c)) for c in columns] for fields in _all_fields(result, rows)]
        return _as_csv_lines(lines, quote_all=formula_safe)

    yield _as_csv_lines([[as_cell(column) for column in columns]], quote_all=formula_safe)
    async with aclosing(_encoded(store, result, encode)) as parts:
        async for part in parts:
            yield part


async def _parquet(store: Desks, result: Result) -> AsyncGenerator[bytes, None]:
    """Reads the rows twice: the columns' types are known only after the last row."""
    kinds = ColumnKinds(result.columns, result.found_columns, result.arrow_schema)
    async with aclosing(_batches(store, result.job)) as batches:
        async for batch in batches:
            await to_thread.run_sync(lambda rows: kinds.look_at(_all_fields(result, rows)), batch)
    sink = ParquetStream(kinds)
    async with aclosing(_batches(store, result.job)) as batches:
        async for batch in batches:
            yield await to_thread.run_sync(lambda rows: sink.write(_all_fields(result, rows)), batch)
    yield await to_thread.run_sync(sink.finish)


def result_fields(result: Result, row: LabeledRow) -> Fields:
    """One row of the result; gold is back in its place."""
    given: Fields = orjson.loads(row.data)
    if row.gold is not None and result.gold_field is not None:
        given[result.gold_field] = orjson.loads(row.gold)
    state = row.state
    label = None if state.label is None else result.job.config.task.labels[state.label]
    found = (label, state.confidence, state.margin, state.status.value, state.raw_probability)
    return {
        **{column: given[column] for column in result.columns if column in given},
        **dict(zip(result.found_columns, found, strict=False)),  # the last one is given on request
    }


def _all_fields(result: Result, rows: Sequence[LabeledRow]) -> list[Fields]:
    return [result_fields(result, row) for row in rows]


def _as_jsonl(result: Result, rows: list[LabeledRow]) -> bytes:
    return b"".join(orjson.dumps(result_fields(result, row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _cell(value: Any) -> str:
    """Text as it is, nothing for null, and everything else as in JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _safe_cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers, negative ones too."""
    cell = _cell(value)
    return f"'{cell}" if isinstance(value, str) and cell.startswith(_FORMULA_BEGINNINGS) else cell


def _as_csv_lines(rows: Sequence[Sequence[str]], *, quote_all: bool) -> bytes:
    text = io.StringIO()
    brief = csv.writer(text, lineterminator="\n")
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:  # a bare carriage return would end the record to readers, and Python 3.11 does not quote it
        (quoting if quote_all or any("\r" in cell for cell in row) else brief).writerow(row)
    return text.getvalue().encode()
