"""The moves that the table of reactions is made of. Each changes one thing about a job or its work item."""

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
    GivenBack,
    Lacked,
    Renewed,
    Saved,
    Succeeded,
)
from service.lifecycle.states import JOB, WORK, IllegalTransition, JobState, Standing, WorkState
from service.records.jobs import JobStatus, PauseReason
from service.records.work import WorkStatus

# How long nobody else tries whether a paused job can go on, while one worker does.
TRIAL_SECONDS = 60.0

T = TypeVar("T")
S = TypeVar("S", JobState, WorkState)


class Draft:
    """The changes that an event makes, as they come together move by move."""

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
        """The work item that the event is about. Raises IllegalTransition where it is about none."""
        if self._work is None:
            raise IllegalTransition(f"{self._event} is about no work item")
        return self._work

    @property
    def kind(self) -> type[Event]:
        """The row of the table. Raises IllegalTransition where nothing has happened."""
        if self._event is None:
            raise IllegalTransition("nothing has happened")
        return type(self._event)

    def event(self, kind: type[T]) -> T:
        """The event, which the table lets be of this kind only. Raises IllegalTransition."""
        if not isinstance(self._event, kind):
            raise IllegalTransition(f"{self._event} is not {kind.__name__}")
        return self._event

    def job_becomes(self, status: JobStatus, **also: Any) -> None:
        """Change the job's status. Raises IllegalTransition where the new one may not follow."""
        if status is not self.job.status and status not in JOB[self.job.status]:
            raise IllegalTransition(f"a job that is {self.job.status} cannot become {status}")
        self.job = replace(self.job, status=status, **also)

    def work_becomes(self, status: WorkStatus, **also: Any) -> None:
        """Change the item's status. Raises IllegalTransition where the new one may not follow."""
        if status not in WORK[self.work.status]:
            raise IllegalTransition(f"a {self.work.kind.noun} that is {self.work.status} cannot become {status}")
        self._work = replace(self.work, status=status, **also)

    def work_ends(self, status: WorkStatus) -> None:
        """End the item and note it in the log."""
        ended = self._event if isinstance(self._event, Succeeded) else Succeeded()
        error = self.error
        self.work_becomes(status, worker_id=None, lease_until=None)
        self.note_work("finished", log.finished(self.work, error, ended.summary))

    @property
    def has_failed(self) -> bool:
        """Whether the item has failed for good."""
        return self._work is not None and self._work.status is WorkStatus.FAILED

    @property
    def error(self) -> dict[str, Any] | None:
        """What the event says went wrong."""
        if isinstance(self._event, CrashedTooOften):
            return log.crash_error(self.work, self._event.crashes)
        if isinstance(self._event, Succeeded) and self._event.error is not None:
            return dict(self._event.error)
        return None

    def note(self, event_type: str, data: dict[str, Any]) -> None:
        """Add an entry to the log; webhooks are told of the job as it is now."""
        self.entries.append(log.entry(event_type, data, self.job, self.now))

    def note_work(self, what: str, data: dict[str, Any]) -> None:
        """Add an entry about the item, by what its kind calls it."""
        self.note(f"{self.work.kind.noun}.{what}", data)

    def changes(self) -> Changes:
        """Everything that has come together."""
        return Changes(
            work=self._work,
            of_work={} if self._work is None else _changed(self._work_before or self._work, self._work),
            job=self.job,
            of_job=_changed(self._job_before, self.job),
            siblings=self.siblings,
            entries=tuple(self.entries),
            wakes_workers=self.wakes_workers,
            interrupts=self.interrupts,
            settling=self.settling,
        )


def lease(draft: Draft) -> None:
    """Give the item to the worker; a lease that has expired counts as a crash."""
    claimed, work = draft.event(Claimed), draft.work
    draft.work_becomes(
        WorkStatus.RUNNING,
        epoch=work.epoch + 1,
        worker_id=claimed.worker_id,
        lease_until=draft.now + timedelta(seconds=claimed.lease_seconds),
        crashes=work.crashes + int(work.status is WorkStatus.RUNNING),
    )


def renew(draft: Draft) -> None:
    """Let the lease last longer."""
    until = draft.now + timedelta(seconds=draft.event(Renewed).lease_seconds)
    draft.work_becomes(WorkStatus.RUNNING, lease_until=until)


def interrupt(draft: Draft) -> None:
    """Tell the worker to give the item back."""
    draft.interrupts = True


def forgive(draft: Draft) -> None:
    """Forget the item's crashes where it has advanced since."""
    if draft.event(Saved).advanced:
        draft.work_becomes(WorkStatus.RUNNING, crashes=0)


def requeue(draft: Draft) -> None:
    """Return the item to the queue, at once or after a delay."""
    returned = draft.event(GivenBack)
    draft.work_becomes(
        WorkStatus.QUEUED,
        worker_id=None,
        lease_until=None,
        run_after=draft.now + timedelta(seconds=returned.delay_seconds),
        crashes=draft.work.crashes + int(isinstance(returned, Crashed)),
    )
    draft.wakes_workers = not returned.delay_seconds


def set_aside(draft: Draft) -> None:
    """Return the item to the queue of a job that waits."""
    draft.work_becomes(WorkStatus.QUEUED, worker_id=None, lease_until=None)


def succeed(draft: Draft) -> None:
    """End the item as done."""
    draft.work_ends(WorkStatus.SUCCEEDED)


def fail(draft: Draft) -> None:
    """End the item by an error."""
    draft.work_ends(WorkStatus.FAILED)


def drop(draft: Draft) -> None:
    """End the item because its job is to stop."""
    draft.work_ends(WorkStatus.CANCELLED)


def unblock(draft: Draft) -> None:
    """Queue the shards that wait for the anchor, if it is the anchor that has ended."""
    if draft.work.is_anchor:
        draft.siblings = Siblings.UNBLOCK
        draft.wakes_workers = True


def cancel_idle(draft: Draft) -> None:
    """Cancel the items that nobody works on."""
    draft.siblings = Siblings.CANCEL_IDLE


def count(draft: Draft) -> None:
    """Have the items counted, whether the job has ended with this."""
    draft.settling = Settling(failed=draft.has_failed, error=draft.error)


def begin(draft: Draft) -> None:
    """The job's first work item is claimed."""
    if draft.job.status is JobStatus.QUEUED:
        draft.job_becomes(JobStatus.RUNNING, started_at=draft.job.started_at or draft.now)
        draft.note("job.running", {"status": JobStatus.RUNNING.value})


def postpone(draft: Draft) -> None:
    """Keep others from trying whether the paused job can go on, while this worker does."""
    draft.job = replace(draft.job, retry_at=draft.now + timedelta(seconds=TRIAL_SECONDS))


def retry_now(draft: Draft) -> None:
    """End the wait of a paused job that resumes by itself: the next worker tries whether it can."""
    draft.job = replace(draft.job, retry_at=draft.now)
    draft.wakes_workers = True


def suspend(draft: Draft) -> None:
    """Pause the job until what it lacks is there, longer with each try in vain; the log notes each reason once."""
    lacked, before = draft.event(Lacked), draft.job
    wait = timedelta(seconds=max(lacked.backoff.seconds(before.tries), lacked.at_least_seconds))
    _pause(draft, lacked.reason, lacked.message, draft.now + wait, tries=before.tries + 1)
    if before.status is not JobStatus.PAUSED or before.pause_reason is not lacked.reason:
        draft.note("job.paused", log.paused(lacked.reason, lacked.message, draft.job.retry_at))


def hold(draft: Draft) -> None:
    """Pause the job until a person resumes it, whatever it has waited for before."""
    _pause(draft, PauseReason.REQUESTED, log.PAUSED_ON_REQUEST, None)
    draft.note("job.paused", log.paused(PauseReason.REQUESTED, log.PAUSED_ON_REQUEST, None))


def resume(draft: Draft) -> None:
    """End the pause, whatever its reason."""
    lasted = draft.job.pause_so_far(draft.now)
    status = JobStatus.QUEUED if draft.job.started_at is None else JobStatus.RUNNING
    end_pause(draft)
    draft.job_becomes(status, error=None)
    draft.note("job.resumed", {"status": status.value, "paused_seconds": lasted})
    draft.wakes_workers = True


def recover(draft: Draft) -> None:
    """The backend has answered: the waits of a later outage are short again."""
    draft.job = replace(draft.job, tries=0)


def stop(draft: Draft) -> None:
    """Let no further item of the job begin."""
    draft.job = replace(draft.job, cancel_requested=True)


def note_started(draft: Draft) -> None:
    """Say in the log that a worker has begun with the item."""
    draft.note_work("started", log.started(draft.work))


def note_released(draft: Draft) -> None:
    """Say in the log that the worker has given the item back."""
    crashed = isinstance(draft.event(GivenBack), Crashed)
    draft.note_work("released", log.released(draft.work, crashed=crashed))


def note_progress(draft: Draft) -> None:
    """Say in the log how far the job has come."""
    draft.note("job.progress", dict(draft.event(Saved).progress))


def note_stop(draft: Draft) -> None:
    """Say in the log that somebody wants the job to stop."""
    draft.note("job.cancel_requested", {})


def refuse(draft: Draft) -> None:
    """Raises JobFinished: the job has ended, or is about to."""
    job = draft.job
    if job.standing is Standing.STOPPING:
        raise JobFinished(f"job {job.id} is being cancelled")
    raise JobFinished(f"job {job.id} has already ended: {job.status}")


def refuse_open(draft: Draft) -> None:
    """Raises WrongState: the job has not ended."""
    raise WrongState(f"job {draft.job.id} is {draft.job.status}; cancel it before deleting it")


def end_pause(draft: Draft) -> None:
    """Forget the pause; before the job's beginning, its seconds count for nothing."""
    counted = 0.0 if draft.job.started_at is None else draft.job.pause_so_far(draft.now)
    seconds = draft.job.paused_seconds + counted
    draft.job = replace(draft.job, pause_reason=None, paused_at=None, retry_at=None, paused_seconds=seconds)


def _pause(draft: Draft, reason: PauseReason, message: str, retry_at: datetime | None, **also: Any) -> None:
    draft.job_becomes(
        JobStatus.PAUSED,
        error=log.job_error(reason, message),
        pause_reason=reason,
        paused_at=draft.job.paused_at or draft.now,
        retry_at=retry_at,
        **also,
    )


def _changed(before: S, after: S) -> dict[str, Any]:
    """The fields that differ, with their new values."""
    pairs = ((one.name, getattr(before, one.name), getattr(after, one.name)) for one in fields(after))
    return {name: new for name, old, new in pairs if old != new}
