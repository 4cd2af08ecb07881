"""Counts what is stored of all projects, for the metrics: two statements, however many are asking."""

from sqlalchemy import ColumnElement, Float, cast, extract, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import OPEN_JOB
from service.records.jobs import JobStatus
from service.records.observations import JobStatistics
from service.records.work import WorkStatus
from service.storage.journal import may_be_tried
from service.storage.tables import jobs, work_items


async def take_census(connection: AsyncConnection) -> JobStatistics:
    """Jobs by status from an index alone; shards of those jobs that have not ended, of which there are few."""
    counted = select(jobs.c.status, func.count()).group_by(jobs.c.status)
    by_status = dict.fromkeys(JobStatus, 0)
    for status, number in await connection.execute(counted):
        by_status[JobStatus(status)] = number
    can_be_claimed = (
        (work_items.c.status == WorkStatus.QUEUED) & (work_items.c.run_after <= func.now()) & may_be_tried()
    )
    live = (
        select(
            work_items.c.status,
            func.count(),
            func.sum(work_items.c.crashes),
            func.max(_seconds_queued()).filter(can_be_claimed),
        )
        .join(jobs, jobs.c.id == work_items.c.job_id)
        .where(jobs.c.status.in_(OPEN_JOB))
        .group_by(work_items.c.status)
    )
    of_shards, oldest, crashes = dict.fromkeys(WorkStatus, 0), 0.0, 0
    for status, number, crashed, waited in await connection.execute(live):
        of_shards[WorkStatus(status)] = number
        oldest, crashes = max(oldest, waited or 0.0), crashes + crashed
    return JobStatistics(jobs=by_status, shards=of_shards, oldest_queued_seconds=oldest, crashes=crashes)


def _seconds_queued() -> ColumnElement[float]:
    """Since the job was taken in, or since the item was last given back."""
    since = func.greatest(work_items.c.queued_at, work_items.c.run_after)
    return cast(extract("epoch", func.clock_timestamp() - since), Float)
