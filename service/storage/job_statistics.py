"""Counts jobs and work items of all projects for the metrics, in two SQL statements."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, Row, cast, extract, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import OPEN_JOB
from service.records.jobs import JobStatus
from service.records.observations import JobStatistics
from service.records.work import JOB_KINDS, WorkKind, WorkStatus
from service.storage.journal import may_be_claimed
from service.storage.tables import jobs, work_items


async def count_jobs(connection: AsyncConnection) -> Mapping[WorkKind, JobStatistics]:
    """Jobs by kind and status, and work items of jobs that have not ended."""
    stored = select(jobs.c.kind, jobs.c.status, func.count().label("number")).group_by(jobs.c.kind, jobs.c.status)
    live = (
        select(
            work_items.c.kind,
            work_items.c.status,
            func.count().label("number"),
            func.sum(work_items.c.crashes).label("crashes"),
            _longest_wait().label("waited"),
        )
        .join(jobs, jobs.c.id == work_items.c.job_id)
        .where(jobs.c.status.in_(OPEN_JOB))
        .group_by(work_items.c.kind, work_items.c.status)
    )
    counted = (await connection.execute(stored)).all(), (await connection.execute(live)).all()
    return {kind: _statistics(*([row for row in rows if row.kind == kind] for rows in counted)) for kind in JOB_KINDS}


def _statistics(stored: Sequence[Row[Any]], live: Sequence[Row[Any]]) -> JobStatistics:
    """The statistics of one kind from the rows of both queries; a status without a row counts 0."""
    return JobStatistics(
        jobs=dict.fromkeys(JobStatus, 0) | {JobStatus(row.status): row.number for row in stored},
        items=dict.fromkeys(WorkStatus, 0) | {WorkStatus(row.status): row.number for row in live},
        oldest_queued_seconds=max((row.waited or 0.0 for row in live), default=0.0),
        crashes=sum(row.crashes for row in live),
    )


def _longest_wait() -> ColumnElement[float]:
    """The longest time in seconds that a claimable item has waited; null if no item is claimable."""
    ready = (work_items.c.status == WorkStatus.QUEUED) & (work_items.c.run_after <= func.now()) & may_be_claimed()
    since = func.greatest(
        work_items.c.queued_at, work_items.c.run_after
    )  # creation, or end of the delay after a release
    return func.max(cast(extract("epoch", func.clock_timestamp() - since), Float)).filter(ready)
