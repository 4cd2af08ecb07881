"""Counts what is stored of all projects, for the metrics: two statements, however many are asking."""

from sqlalchemy import ColumnElement, Float, cast, extract, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import OPEN_JOB
from service.records.jobs import JobStatus, ShardStatus
from service.records.observations import JobStatistics
from service.storage.journal import may_be_tried
from service.storage.tables import jobs, shards


async def take_census(connection: AsyncConnection) -> JobStatistics:
    """Jobs by status from an index alone; shards of those jobs that have not ended, of which there are few."""
    counted = select(jobs.c.status, func.count()).group_by(jobs.c.status)
    by_status = dict.fromkeys(JobStatus, 0)
    for status, number in await connection.execute(counted):
        by_status[JobStatus(status)] = number
    can_be_claimed = (shards.c.status == ShardStatus.QUEUED) & (shards.c.run_after <= func.now()) & may_be_tried()
    live = (
        select(
            shards.c.status,
            func.count(),
            func.sum(shards.c.crashes),
            func.max(_seconds_queued()).filter(can_be_claimed),
        )
        .join(jobs, jobs.c.id == shards.c.job_id)
        .where(jobs.c.status.in_(OPEN_JOB))
        .group_by(shards.c.status)
    )
    of_shards, oldest, crashes = dict.fromkeys(ShardStatus, 0), 0.0, 0
    for status, number, crashed, waited in await connection.execute(live):
        of_shards[ShardStatus(status)] = number
        oldest, crashes = max(oldest, waited or 0.0), crashes + crashed
    return JobStatistics(jobs=by_status, shards=of_shards, oldest_queued_seconds=oldest, crashes=crashes)


def _seconds_queued() -> ColumnElement[float]:
    """Since the job was taken in, or since the shard was last given back."""
    since = func.greatest(shards.c.queued_at, shards.c.run_after)
    return cast(extract("epoch", func.clock_timestamp() - since), Float)
