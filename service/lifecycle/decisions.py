"""Looks an event up in the table and makes the moves that stand there."""

from datetime import datetime

from service.lifecycle import log
from service.lifecycle.changes import Changes, Settling
from service.lifecycle.events import (
    Claimed,
    ClaimedTooEarly,
    Crashed,
    CrashedTooOften,
    Event,
    GivenBack,
    JobEvent,
    ShardEvent,
)
from service.lifecycle.moves import Draft, end_pause
from service.lifecycle.states import IllegalTransition, JobState, ShardCounts, ShardState
from service.lifecycle.table import REACTIONS
from service.records.jobs import JobStatus, Progress, ShardStatus


def decide(job: JobState, shard: ShardState, event: ShardEvent, *, now: datetime, max_crashes: int) -> Changes:
    """What becomes of a shard and its job by what a worker does. Raises IllegalTransition.

    A worker's lease is the store's to check: an event under a lease that is lost never comes here. A shard
    that ended `max_crashes` workers without progress in between fails.
    """
    _check_shard(shard, event, now)
    return _react(Draft(job, shard, _seen(job, shard, event, now, max_crashes), now), job)


def decide_job(job: JobState, event: JobEvent, *, now: datetime) -> Changes:
    """What becomes of a job by what a person asks for. Raises JobFinished, WrongState."""
    return _react(Draft(job, None, event, now), job)


def settle(job: JobState, counts: ShardCounts, settling: Settling, *, progress: Progress, now: datetime) -> Changes:
    """Whether the job has ended by what became of its shards; a final status stays.

    A paused job ends like a running one: by the shards that were under way, or by a cancellation.
    """
    draft = Draft(job, None, None, now)
    status = _settled_status(job, counts, failed=settling.failed)
    if status is not job.status:
        end_pause(draft)
        draft.job_becomes(status, finished_at=now, error=settling.error or None)
        draft.note(f"job.{status}", log.settled(draft.job, progress))
    return draft.changes()


def _react(draft: Draft, job: JobState) -> Changes:
    cell = REACTIONS[draft.kind][job.standing]
    if cell is None:
        raise IllegalTransition(f"{draft.kind.__name__} cannot happen to a job that is {job.standing.value}")
    for move in cell:
        move(draft)
    return draft.changes()


def _check_shard(shard: ShardState, event: ShardEvent, now: datetime) -> None:
    """A queued or expired shard can be claimed; everything else happens under a lease. Raises IllegalTransition."""
    if isinstance(event, Claimed):
        if shard.status is not ShardStatus.QUEUED and not shard.has_expired(now):
            raise IllegalTransition(f"a shard that is {shard.status} cannot be claimed")
    elif shard.status is not ShardStatus.RUNNING:
        raise IllegalTransition(f"{type(event).__name__} cannot happen to a shard that is {shard.status}")


def _seen(job: JobState, shard: ShardState, event: ShardEvent, now: datetime, max_crashes: int) -> Event:
    """The event, or what it is with regard to the clock and to the shard's crashes."""
    if isinstance(event, Claimed) and job.waits(now):
        return ClaimedTooEarly()
    if isinstance(event, Claimed | GivenBack):
        crashed = shard.status is ShardStatus.RUNNING if isinstance(event, Claimed) else isinstance(event, Crashed)
        crashes = shard.crashes + int(crashed)
        return CrashedTooOften(crashes=crashes) if crashes >= max_crashes else event
    return event


def _settled_status(job: JobState, counts: ShardCounts, *, failed: bool) -> JobStatus:
    if job.status.is_final:
        return job.status
    if failed:
        return JobStatus.FAILED
    if job.cancel_requested:
        return JobStatus.CANCELLED if counts.waiting + counts.running == 0 else job.status
    return JobStatus.SUCCEEDED if counts.succeeded == counts.total else job.status
