"""Decides how a job changes: looks up the event in the table of reactions and makes that cell's moves."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.lifecycle import log
from service.lifecycle.changes import Changes, Settling
from service.lifecycle.events import (
    Claimed,
    ClaimedTooEarly,
    Crashed,
    CrashedTooOften,
    Event,
    JobEvent,
    Released,
    WorkEvent,
)
from service.lifecycle.moves import Draft, end_pause
from service.lifecycle.states import IllegalTransition, JobState, WorkCounts, WorkState
from service.lifecycle.table import REACTIONS
from service.records.jobs import JobStatus
from service.records.work import WorkStatus


def decide(job: JobState, work: WorkState, event: WorkEvent, *, now: datetime, max_crashes: int) -> Changes:
    """The changes of a work item and its job by a worker's event. Raises IllegalTransition.

    The store checks the lease before: it never reports an event under a lost lease. An item fails after `max_crashes`
    crashes without progress in between.
    """
    _check_work(work, event, now)
    return _react(Draft(job, work, _classified(job, work, event, now, max_crashes), now))


def decide_job(job: JobState, event: JobEvent, *, now: datetime) -> Changes:
    """The changes of a job by a person's request. Raises JobFinished, WrongState."""
    return _react(Draft(job, None, event, now))


def settle(
    job: JobState, counts: WorkCounts, settling: Settling, *, progress: Mapping[str, Any], now: datetime
) -> Changes:
    """End the job if the counts of its work items require it; a final status stays.

    A paused job can end, too: its running items succeed or fail, or a person cancels it.
    """
    draft = Draft(job, None, None, now)
    status = _settled_status(job, counts, failed=settling.failed)
    if status is not job.status:
        end_pause(draft)
        draft.set_job_status(status, finished_at=now, error=settling.error or None)
        draft.add_entry(f"job.{status}", log.settled(draft.job, progress))
    return draft.changes()


def _react(draft: Draft) -> Changes:
    standing = draft.job.standing
    cell = REACTIONS[draft.kind][standing]
    if cell is None:
        raise IllegalTransition(f"{draft.kind.__name__} cannot happen to a job that is {standing.value}")
    for move in cell:
        move(draft)
    return draft.changes()


def _check_work(work: WorkState, event: WorkEvent, now: datetime) -> None:
    """Check that the item is claimable for a claim, and leased for any other event. Raises IllegalTransition."""
    if isinstance(event, Claimed):
        if work.status is not WorkStatus.QUEUED and not work.has_expired(now):
            raise IllegalTransition(f"a {work.kind.noun} that is {work.status} cannot be claimed")
    elif work.status is not WorkStatus.RUNNING:
        raise IllegalTransition(f"{type(event).__name__} cannot happen to a {work.kind.noun} that is {work.status}")


def _classified(job: JobState, work: WorkState, event: WorkEvent, now: datetime, max_crashes: int) -> Event:
    """The event, or the special event that the time or the number of crashes makes of it."""
    if isinstance(event, Claimed) and job.waits(now):
        return ClaimedTooEarly()
    if isinstance(event, Claimed | Released):
        crashed = work.status is WorkStatus.RUNNING if isinstance(event, Claimed) else isinstance(event, Crashed)
        crashes = work.crashes + int(crashed)
        return CrashedTooOften(crashes=crashes) if crashes >= max_crashes else event
    return event


def _settled_status(job: JobState, counts: WorkCounts, *, failed: bool) -> JobStatus:
    if job.status.is_final:
        return job.status
    if failed:
        return JobStatus.FAILED
    if job.cancel_requested:
        return JobStatus.CANCELLED if counts.waiting + counts.running == 0 else job.status
    return JobStatus.SUCCEEDED if counts.succeeded == counts.total else job.status
