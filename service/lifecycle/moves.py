"""The moves in the cells of the table of reactions. Each changes one thing about a job or its work item."""

from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from service.errors import JobFinished, WrongState
from service.lifecycle import log
from service.lifecycle.changes import Changes, Entry, Settling, Siblings
from service.lifecycle.events import (
    Claimed,
    Crashed,
    CrashedTooOften,
    Event,
    Released,
    Renewed,
    ResourceMissing,
    Saved,
    Succeeded,
)
from service.lifecycle.states import JOB, WORK, IllegalTransition, JobState, Standing, WorkState
from service.records.jobs import JobStatus, PauseReason
from service.records.work import WorkKind, WorkStatus

# While one worker tries to resume a paused job, no other one tries for this time.
TRIAL_SECONDS = 60.0

T = TypeVar("T")
S = TypeVar("S", JobState, WorkState)


class Draft:
    """Collects the changes that an event makes, move by move."""

    def __init__(self, job: JobState, work: WorkState | None, event: Event | None, now: datetime) -> None:
        self._job_before, self._work_before = job, work
        self.job = job
        self._work = work
        self._event = event
        self.now = now
        self.siblings: Siblings | None = None
        self.entries: list[Entry] = []
        self.wakes_workers = False
        self.interrupts = False
        self.settling: Settling | None = None

    @property
    def work(self) -> WorkState:
        """The event's work item. Raises IllegalTransition if it has none."""
        if self._work is None:
            raise IllegalTransition(f"{self._event} is about no work item")
        return self._work

    @property
    def kind(self) -> type[Event]:
        """The event's row of the table. Raises IllegalTransition if there is no event."""
        if self._event is None:
            raise IllegalTransition("nothing has happened")
        return type(self._event)

    def event(self, kind: type[T]) -> T:
        """The event as this kind. Raises IllegalTransition if it is of another kind."""
        if not isinstance(self._event, kind):
            raise IllegalTransition(f"{self._event} is not {kind.__name__}")
        return self._event

    def set_job_status(self, status: JobStatus, **also: Any) -> None:
        """Change the job's status. Raises IllegalTransition if `JOB` does not allow it."""
        if status is not self.job.status and status not in JOB[self.job.status]:
            raise IllegalTransition(f"a job that is {self.job.status} cannot become {status}")
        self.job = replace(self.job, status=status, **also)

    def set_work_status(self, status: WorkStatus, **also: Any) -> None:
        """Change the item's status. Raises IllegalTransition if `WORK` does not allow it."""
        if status not in WORK[self.work.status]:
            raise IllegalTransition(f"a {self.work.kind.noun} that is {self.work.status} cannot become {status}")
        self._work = replace(self.work, status=status, **also)

    def end_work(self, status: WorkStatus) -> None:
        """End the item and log its end."""
        data: dict[str, Any] = {"status": status.value}
        if (error := self.error) is not None:
            data["error"] = error
        if isinstance(self._event, Succeeded) and self._event.summary is not None:
            data["summary"] = dict(self._event.summary)
        self.set_work_status(status, worker_id=None, lease_until=None)
        self.add_work_entry("finished", data)

    @property
    def has_failed(self) -> bool:
        """Whether the item has failed for good."""
        return self._work is not None and self._work.status is WorkStatus.FAILED

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that the event carries, if any."""
        if isinstance(self._event, CrashedTooOften):
            return log.crash_error(self.work, self._event.crashes)
        if isinstance(self._event, Succeeded) and self._event.error is not None:
            return dict(self._event.error)
        return None

    def add_entry(self, event_type: str, data: dict[str, Any]) -> None:
        """Add an entry to the log; webhooks report the job as it is now."""
        self.entries.append(log.entry(event_type, data, self.job, self.now))

    def add_work_entry(self, what: str, data: dict[str, Any]) -> None:
        """Add an entry about the item, such as `shard.finished`, with the item's number."""
        noun = self.work.kind.noun
        self.add_entry(f"{noun}.{what}", {noun: self.work.number, **data})

    def changes(self) -> Changes:
        """All collected changes."""
        return Changes(
            work=self._work,
            work_fields={} if self._work is None else _changed(self._work_before or self._work, self._work),
            job=self.job,
            job_fields=_changed(self._job_before, self.job),
            siblings=self.siblings,
            entries=tuple(self.entries),
            wakes_workers=self.wakes_workers,
            interrupts=self.interrupts,
            settling=self.settling,
        )


def lease(draft: Draft) -> None:
    """Lease the item to the worker; an expired lease counts as a crash."""
    claimed, work = draft.event(Claimed), draft.work
    draft.set_work_status(
        WorkStatus.RUNNING,
        epoch=work.epoch + 1,
        worker_id=claimed.worker_id,
        lease_until=draft.now + timedelta(seconds=claimed.lease_seconds),
        crashes=work.crashes + int(work.status is WorkStatus.RUNNING),
    )


def renew(draft: Draft) -> None:
    """Extend the lease."""
    until = draft.now + timedelta(seconds=draft.event(Renewed).lease_seconds)
    draft.set_work_status(WorkStatus.RUNNING, lease_until=until)


def interrupt(draft: Draft) -> None:
    """Tell the worker to release the item."""
    draft.interrupts = True


def reset_crashes(draft: Draft) -> None:
    """Set the item's count of crashes to 0 if it has advanced."""
    if draft.event(Saved).advanced:
        draft.set_work_status(WorkStatus.RUNNING, crashes=0)


def requeue(draft: Draft) -> None:
    """Return the item to the queue; workers may claim it at once or after a delay."""
    returned = draft.event(Released)
    draft.set_work_status(
        WorkStatus.QUEUED,
        worker_id=None,
        lease_until=None,
        run_after=draft.now + timedelta(seconds=returned.delay_seconds),
        crashes=draft.work.crashes + int(isinstance(returned, Crashed)),
    )
    draft.wakes_workers = not returned.delay_seconds


def set_aside(draft: Draft) -> None:
    """Return the item of a paused job to the queue."""
    draft.set_work_status(WorkStatus.QUEUED, worker_id=None, lease_until=None)


def succeed(draft: Draft) -> None:
    """End the item as succeeded."""
    draft.end_work(WorkStatus.SUCCEEDED)


def fail(draft: Draft) -> None:
    """End the item as failed."""
    draft.end_work(WorkStatus.FAILED)


def cancel_work(draft: Draft) -> None:
    """End the item as cancelled."""
    draft.end_work(WorkStatus.CANCELLED)


def unblock(draft: Draft) -> None:
    """Queue the shards that wait for the anchor, if this item is the anchor."""
    if draft.work.is_anchor:
        draft.siblings = Siblings.UNBLOCK
        draft.wakes_workers = True


def cancel_idle(draft: Draft) -> None:
    """Cancel the items that no worker holds."""
    draft.siblings = Siblings.CANCEL_IDLE


def count_items(draft: Draft) -> None:
    """Let the store count the items, since the job may have ended."""
    draft.settling = Settling(failed=draft.has_failed, error=draft.error)


def start_job(draft: Draft) -> None:
    """Set the job running if this is its first claim."""
    if draft.job.status is JobStatus.QUEUED:
        draft.set_job_status(JobStatus.RUNNING, started_at=draft.job.started_at or draft.now)
        draft.add_entry("job.running", {"status": JobStatus.RUNNING.value})


def postpone(draft: Draft) -> None:
    """Keep other workers from trying to resume the paused job while this one tries."""
    draft.job = replace(draft.job, retry_at=draft.now + timedelta(seconds=TRIAL_SECONDS))


def retry_now(draft: Draft) -> None:
    """End the wait of a suspended job: the next worker tries to resume it."""
    draft.job = replace(draft.job, retry_at=draft.now)
    draft.wakes_workers = True


def suspend(draft: Draft) -> None:
    """Pause the job until its backend or tokens are available; waits grow with each failed try.

    The log has one entry for each reason.
    """
    lacked, before = draft.event(ResourceMissing), draft.job
    wait = timedelta(seconds=max(lacked.backoff.seconds(before.tries), lacked.at_least_seconds))
    _pause(draft, lacked.reason, lacked.message, draft.now + wait, tries=before.tries + 1)
    if before.status is not JobStatus.PAUSED or before.pause_reason is not lacked.reason:
        draft.add_entry("job.paused", log.paused(lacked.reason, lacked.message, draft.job.retry_at))


def pause(draft: Draft) -> None:
    """Pause the job until a person resumes it, whatever its earlier pause was for."""
    _pause(draft, PauseReason.REQUESTED, log.PAUSED_ON_REQUEST, None)
    draft.add_entry("job.paused", log.paused(PauseReason.REQUESTED, log.PAUSED_ON_REQUEST, None))


def resume(draft: Draft) -> None:
    """End the pause, whatever its reason."""
    lasted = draft.job.pause_so_far(draft.now)
    status = JobStatus.QUEUED if draft.job.started_at is None else JobStatus.RUNNING
    end_pause(draft)
    draft.set_job_status(status, error=None)
    draft.add_entry("job.resumed", {"status": status.value, "paused_seconds": lasted})
    draft.wakes_workers = True


def reset_tries(draft: Draft) -> None:
    """Set the count of failed tries to 0 after progress, so that the next outage begins with a short wait."""
    draft.job = replace(draft.job, tries=0)


def request_cancel(draft: Draft) -> None:
    """Mark the job as being cancelled: no further item starts."""
    draft.job = replace(draft.job, cancel_requested=True)


def log_started(draft: Draft) -> None:
    """Log that a worker has started the item."""
    work = draft.work
    draft.add_work_entry("started", {"epoch": work.epoch, "worker_id": work.worker_id, **work.payload})


def log_released(draft: Draft) -> None:
    """Log that the worker has released the item."""
    draft.add_work_entry("released", {"crashed": isinstance(draft.event(Released), Crashed)})


def log_progress(draft: Draft) -> None:
    """Log the job's progress."""
    draft.add_entry("job.progress", dict(draft.event(Saved).progress))


def log_cancel_request(draft: Draft) -> None:
    """Log that a person has cancelled the job."""
    draft.add_entry("job.cancel_requested", {})


def refuse(draft: Draft) -> None:
    """Refuse the request. Raises JobFinished: the job has ended or is being cancelled."""
    job = draft.job
    if job.standing is Standing.STOPPING:
        raise JobFinished(f"{_named(job)} is being cancelled")
    raise JobFinished(f"{_named(job)} has already ended: {job.status}")


def _named(job: JobState) -> str:
    return f"{'training' if job.kind is WorkKind.TRAIN else 'job'} {job.id}"


def refuse_open(draft: Draft) -> None:
    """Refuse to delete the job. Raises WrongState: the job has not ended."""
    raise WrongState(f"{_named(draft.job)} is {draft.job.status}; cancel it before deleting it")


def end_pause(draft: Draft) -> None:
    """End the pause. Its seconds count only after the job's start."""
    counted = 0.0 if draft.job.started_at is None else draft.job.pause_so_far(draft.now)
    seconds = draft.job.paused_seconds + counted
    draft.job = replace(draft.job, pause_reason=None, paused_at=None, retry_at=None, paused_seconds=seconds)


def _pause(draft: Draft, reason: PauseReason, message: str, retry_at: datetime | None, **also: Any) -> None:
    draft.set_job_status(
        JobStatus.PAUSED,
        error={"code": reason.value, "message": message},
        pause_reason=reason,
        paused_at=draft.job.paused_at or draft.now,
        retry_at=retry_at,
        **also,
    )


def _changed(before: S, after: S) -> dict[str, Any]:
    """The fields that differ, with their new values."""
    pairs = ((one.name, getattr(before, one.name), getattr(after, one.name)) for one in fields(after))
    return {name: new for name, old, new in pairs if old != new}
