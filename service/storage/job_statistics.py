"""Counts what is stored of all projects, for the metrics: two statements, however many are asking."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, Row, cast, extract, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import OPEN_JOB
from service.records.jobs import JobStatus
from service.records.observations import JobStatistics
from service.records.work import JOB_KINDS, WorkKind, WorkStatus
from service.storage.journal import may_be_tried
from service.storage.tables import jobs, work_items


async def count_jobs(connection: AsyncConnection) -> Mapping[WorkKind, JobStatistics]:
    """Jobs by kind and status; work items of those jobs that have not ended, of which there are few."""
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
    """What both queries say of one kind; a status that no row is about has none."""
    return JobStatistics(
        jobs=dict.fromkeys(JobStatus, 0) | {JobStatus(row.status): row.number for row in stored},
        items=dict.fromkeys(WorkStatus, 0) | {WorkStatus(row.status): row.number for row in live},
        oldest_queued_seconds=max((row.waited or 0.0 for row in live), default=0.0),
        crashes=sum(row.crashes for row in live),
    )


def _longest_wait() -> ColumnElement[float]:
    """Seconds that the longest waiting of the items that can be claimed has waited; null where there is none."""
    ready = (work_items.c.status == WorkStatus.QUEUED) & (work_items.c.run_after <= func.now()) & may_be_tried()
    since = func.greatest(work_items.c.queued_at, work_items.c.run_after)  # taken in, or last given back
    return func.max(cast(extract("epoch", func.clock_timestamp() - since), Float)).filter(ready)
