"""Reads labelling jobs from Postgres, each with its progress summed over its shards."""

from dataclasses import fields
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, case, extract, func, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import LateralFromClause

from service.config import JobConfig
from service.errors import ConfigUnreadable, JobNotFound
from service.identifiers import JobId, ProjectName
from service.records.jobs import Job, JobStatus, ListedJob, Progress, SearchPace, TrainingPace, UnreadableJob
from service.records.work import Origin, WorkStatus
from service.storage.records import SUMMED, WorkLeft, eta_seconds, parsed_time, seconds_of_trainings
from service.storage.stored_config import read_config
from service.storage.tables import jobs, labellings, shards, work_items

PACE = "pace"  # what the summary of a shard has until the shard is finished: a SearchPace or a TrainingPace
_OF_THE_PACE = tuple(one.name for one in fields(TrainingPace))


@cache
def select_jobs() -> "Select[Any]":
    """A query for all labelling jobs with the sums over their shards; narrow it down with `where`.

    Composed once: that takes longer than Postgres needs for one job.
    """
    totals = _totals()
    elapsed = elapsed_seconds().label("elapsed_seconds")
    labelling = (labellings.c.dataset_id, labellings.c.config, labellings.c.backend_id)
    query = select(*jobs.c, *labelling, *totals.c, elapsed).join(labellings, labellings.c.job_id == jobs.c.id)
    return query.join(totals, true())


def elapsed_seconds() -> ColumnElement[Any]:
    """Seconds since the job started, without its pauses; null before the start."""
    until = func.coalesce(jobs.c.paused_at, func.clock_timestamp())
    return extract("epoch", until - jobs.c.started_at) - jobs.c.paused_seconds


def job_from(row: RowMapping) -> Job:
    """The job in a row of `select_jobs`."""
    status, config = JobStatus(row["status"]), read_config(row["config"])
    return Job(
        id=row["id"],
        dataset_id=row["dataset_id"],
        config=config,
        status=status,
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        cancel_requested=row["cancel_requested"],
        error=row["error"],
        backend_id=row["backend_id"],
        warnings=tuple(row["warnings"] or ()),
        origin=Origin(request_id=row["request_id"], traceparent=row["traceparent"]),
        progress=_progress(status, row, config),
    )


def listed_job_from(row: RowMapping) -> ListedJob:
    """The job in a row of `select_jobs`, as far as this release can read it: one must not hide the others."""
    try:
        return job_from(row)
    except ConfigUnreadable as error:
        status = JobStatus(row["status"])
        as_they_are = ("id", "name", "created_at", "started_at", "finished_at", "error")
        return UnreadableJob(
            **{name: row[name] for name in as_they_are},
            status=status,
            warnings=tuple(row["warnings"] or ()),
            progress=_progress(status, row, None),
            unreadable=str(error),
        )


def owned(job_id: JobId, project: ProjectName) -> ColumnElement[bool]:
    """True of this job if it belongs to the project and is not retired."""
    return (jobs.c.id == job_id) & (jobs.c.project == project) & jobs.c.retired_at.is_(None)


def newest_first(
    query: "Select[Any]",
    project: ProjectName,
    *,
    limit: int,
    before: tuple[str, str] | None,
    status: JobStatus | None,
) -> "Select[Any]":
    """The query for a page of the project's jobs, older than the (created_at, id) given. Raises InvalidCursor."""
    query = query.where(jobs.c.project == project, jobs.c.retired_at.is_(None))
    if before is not None:
        created_at, job_id = before
        query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(parsed_time(created_at), job_id))
    if status is not None:
        query = query.where(jobs.c.status == status)
    return query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)


async def get_job(connection: AsyncConnection, which: ColumnElement[bool], job_id: JobId) -> Job:
    """The job of which `which` is true, with its progress. Raises JobNotFound and ConfigUnreadable."""
    return job_from(await _row(connection, which, job_id))


async def get_listed_job(connection: AsyncConnection, which: ColumnElement[bool], job_id: JobId) -> ListedJob:
    """The same, as far as this release can read the job. Raises JobNotFound."""
    return listed_job_from(await _row(connection, which, job_id))


async def _row(connection: AsyncConnection, which: ColumnElement[bool], job_id: JobId) -> RowMapping:
    row: RowMapping | None = (await connection.execute(select_jobs().where(which))).mappings().first()
    if row is None:
        raise job_not_found(job_id)
    return row


def job_not_found(job_id: JobId) -> JobNotFound:
    """The error for an id without a job."""
    return JobNotFound(f"there is no job {job_id}")


def _totals() -> LateralFromClause:
    known = shards.c.utility.is_not(None)
    sums: list[ColumnElement[Any]] = [func.coalesce(func.sum(shards.c[name]), 0).label(name) for name in SUMMED]
    is_done = work_items.c.status == WorkStatus.SUCCEEDED
    unfinished = case((~is_done, shards.c.summary))  # those of finished ones are long
    pace = {one.name: unfinished[(PACE, one.name)].as_float() for one in fields(SearchPace)}
    waits = ~is_done & pace["prompts_left"].is_(None)
    is_later = is_done & (shards.c.prompts > 0) & (shards.c.shard > 0)  # the first often searches, others do not
    mean_utility = func.sum(shards.c.utility * shards.c.rows) / func.sum(shards.c.rows).filter(known)
    return (
        select(
            *sums,
            func.coalesce(func.sum(shards.c.rows), 0).label("rows"),
            mean_utility.label("utility"),
            func.sum(pace["prompts_left"]).label("prompts_left"),
            func.sum(pace["prompts_under_way"]).label("prompts_under_way"),
            func.max(pace["prompts_per_query"]).label("prompts_per_query"),
            func.sum(shards.c.rows).filter(waits).label("waiting_rows"),
            func.count().filter(waits).label("waiting_shards"),
            func.sum(shards.c.rows).filter(is_later).label("later_rows"),
            func.sum(shards.c.prompts).filter(is_later).label("later_prompts"),
            *(func.max(unfinished[(PACE, name)].as_float()).label(name) for name in _OF_THE_PACE),
        )
        .join(work_items, (work_items.c.job_id == shards.c.job_id) & (work_items.c.number == shards.c.shard))
        .where(shards.c.job_id == jobs.c.id)
        .lateral("totals")
    )


def _progress(status: JobStatus, row: RowMapping, config: JobConfig | None) -> Progress:
    """The job's progress; without a configuration that can be read, the time left is unknown."""
    elapsed = None if row["elapsed_seconds"] is None else float(row["elapsed_seconds"])
    if config is not None and config.trains:
        seconds_left = seconds_of_trainings(status, elapsed, _pace(row))
    else:
        seconds_left = eta_seconds(status, elapsed, _work_left(row), config)
    return Progress(
        rows=int(row["rows"]),
        utility=row["utility"],
        eta_seconds=seconds_left,
        **{name: int(row[name]) for name in SUMMED},
    )


def _work_left(row: RowMapping) -> WorkLeft:
    return WorkLeft(**{one.name: float(row[one.name] or 0) for one in fields(WorkLeft)})


def _pace(row: RowMapping) -> TrainingPace | None:
    """The pace of the single shard of a search that trains."""
    if row["since_seconds"] is None:
        return None
    read, left = (int(row[name]) for name in ("tokens_read", "tokens_left"))
    return TrainingPace(since_seconds=row["since_seconds"], tokens_read=read, tokens_left=left)
