"""What happens to a job of the twin as a whole: its events, its progress and its status."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson

from service.entities import Backoff, Event, Job, JobStatus, PauseReason, Progress, ShardStatus
from service.identifiers import JobId
from service.storage.lifecycle import (
    PAUSED_ON_REQUEST,
    SUMMED,
    WAITING_SHARD,
    ShardCounts,
    eta_seconds,
    job_error,
    job_event,
    paused_event,
    resumed_event,
    resumed_status,
    rows_done,
    settled_status,
)
from service.storage.memory.outbox import queue_messages
from service.storage.memory.state import PauseRecord, State


class Journal:
    """Changes jobs within the unit of work that is open."""

    def __init__(self, state: State) -> None:
        self._state = state

    def told(self, job_id: JobId) -> Job:
        """The job with its progress summed over shards. Raises JobNotFound."""
        job = self._state.job(job_id)
        return replace(job, progress=self._progress(job))

    def append(self, job_id: JobId, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event, as it looks after a passage through JSON. Raises JobNotFound."""
        self._state.job(job_id)
        log = self._state.events.get(job_id) or ()
        stored = orjson.loads(orjson.dumps(dict(data)))
        sequence = log[-1].sequence + 1 if log else 1
        event = Event(sequence=sequence, type=event_type, created_at=self._state.now(), data=stored)
        self._state.events.put(job_id, (*log, event))
        queue_messages(self._state, job_id, event_type)
        self._state.changed_jobs.add(job_id)

    def begin(self, job: Job) -> None:
        """The first shard was claimed."""
        if job.status is JobStatus.QUEUED:
            started = job.started_at or self._state.now()
            self._state.jobs.put(job.id, replace(job, status=JobStatus.RUNNING, started_at=started))
            self.append(job.id, "job.running", {"status": JobStatus.RUNNING.value})

    def pause(self, job: Job, reason: PauseReason, message: str, *, backoff: Backoff, at_least_seconds: float) -> None:
        """Let the job wait, longer with each try in vain; who listens hears once of each reason."""
        before, now = self._state.pause_of(job.id), self._state.now()
        retry_at = now + timedelta(seconds=max(backoff.seconds(before.tries), at_least_seconds))
        since = before.paused_at or now
        paused = replace(before, reason=reason, paused_at=since, retry_at=retry_at, tries=before.tries + 1)
        self._state.pauses.put(job.id, paused)
        error = job_error(reason, message)
        self._state.jobs.put(job.id, replace(job, status=JobStatus.PAUSED, error=error))
        if job.status is not JobStatus.PAUSED or before.reason is not reason:
            self.append(job.id, "job.paused", paused_event(reason, message, retry_at))

    def put_on_hold(self, job: Job) -> None:
        """Let the job wait until a person resumes it, whatever it may have waited for before."""
        before = self._state.pause_of(job.id)
        since = before.paused_at or self._state.now()
        held = replace(before, reason=PauseReason.REQUESTED, paused_at=since, retry_at=None)
        self._state.pauses.put(job.id, held)
        error = job_error(PauseReason.REQUESTED, PAUSED_ON_REQUEST)
        self._state.jobs.put(job.id, replace(job, status=JobStatus.PAUSED, error=error))
        self.append(job.id, "job.paused", paused_event(PauseReason.REQUESTED, PAUSED_ON_REQUEST, None))

    def try_at_once(self, job_id: JobId) -> None:
        """End the wait of a job that goes on by itself: a worker looks now whether it can."""
        self.keep_waiting(job_id, 0.0)
        self._state.work_queued = True

    def keep_waiting(self, job_id: JobId, seconds: float) -> None:
        """Let nobody else look whether the paused job can go on, until so many seconds are over."""
        later = self._state.now() + timedelta(seconds=seconds)
        self._state.pauses.put(job_id, replace(self._state.pause_of(job_id), retry_at=later))

    def resume(self, job: Job) -> None:
        """End the pause, whatever its reason; every waiting worker is told."""
        seconds = self._pause_so_far(job.id)
        self._end_pause(job)
        status = resumed_status(has_begun=job.started_at is not None)
        self._state.jobs.put(job.id, replace(job, status=status, error=None))
        self.append(job.id, "job.resumed", resumed_event(status, seconds))
        self._state.work_queued = True

    def went_on(self, job_id: JobId) -> None:
        """A shard was saved, so the backend has answered: waits of a later outage are short again."""
        if self._state.job(job_id).status is not JobStatus.PAUSED:
            self._state.pauses.put(job_id, replace(self._state.pause_of(job_id), tries=0))

    def elapsed_seconds(self, job: Job) -> float | None:
        """Seconds since the job started, those of pauses not counted; None where it has not."""
        if job.started_at is None:
            return None
        pause = self._state.pause_of(job.id)
        until = pause.paused_at or self._state.now()
        return (until - job.started_at).total_seconds() - pause.paused_seconds

    def _pause_so_far(self, job_id: JobId) -> float:
        paused_at = self._state.pause_of(job_id).paused_at
        return 0.0 if paused_at is None else (self._state.now() - paused_at).total_seconds()

    def _end_pause(self, job: Job) -> None:
        """Before the job's beginning there is nothing to count."""
        pause = self._state.pause_of(job.id)
        lasted = 0.0 if job.started_at is None else self._pause_so_far(job.id)
        over = PauseRecord(tries=pause.tries, paused_seconds=pause.paused_seconds + lasted)
        self._state.pauses.put(job.id, over)

    def request_stop(self, job_id: JobId) -> None:
        """Let no further shard begin."""
        self._state.jobs.put(job_id, replace(self._state.job(job_id), cancel_requested=True))

    def unblock(self, job_id: JobId) -> None:
        """Queue the shards that waited for the anchor."""
        blocked = [record for record in self._state.shards_of(job_id) if record.status is ShardStatus.BLOCKED]
        self._state.put_shards(replace(record, status=ShardStatus.QUEUED) for record in blocked)
        self._state.work_queued = True

    def settle(
        self, job_id: JobId, *, stopping: bool, failed: bool = False, error: Mapping[str, Any] | None = None
    ) -> JobStatus:
        """Give the job the status that its shards, as they are now, call for."""
        if failed or stopping:
            self._cancel_waiting(job_id)
        job = self._state.job(job_id)
        status = settled_status(job.status, stopping=stopping, failed=failed, shards=self._count_shards(job_id))
        if status is job.status:
            return status
        details = dict(error) if error else None
        self._end_pause(job)
        self._state.jobs.put(job_id, replace(job, status=status, finished_at=self._state.now(), error=details))
        self.append(job_id, f"job.{status}", job_event(status, error, self.told(job_id).progress))
        return status

    def _cancel_waiting(self, job_id: JobId) -> None:
        now = self._state.now()
        idle = [
            record
            for record in self._state.shards_of(job_id)
            if record.status in WAITING_SHARD or record.has_expired(now)
        ]
        self._state.put_shards(
            replace(record, status=ShardStatus.CANCELLED, worker_id=None, lease_until=None) for record in idle
        )

    def _count_shards(self, job_id: JobId) -> ShardCounts:
        statuses = [record.status for record in self._state.shards_of(job_id)]
        return ShardCounts(
            waiting=sum(status in WAITING_SHARD for status in statuses),
            running=statuses.count(ShardStatus.RUNNING),
            succeeded=statuses.count(ShardStatus.SUCCEEDED),
            total=len(statuses),
        )

    def _progress(self, job: Job) -> Progress:
        shards = self._state.shards_of(job.id)
        rows = sum(record.rows for record in shards)
        done = sum(rows_done(record.status, record.rows, record.progress.labeled) for record in shards)
        elapsed = self.elapsed_seconds(job)
        known = [(r.progress.utility, r.rows) for r in shards if r.progress.utility is not None]
        weight = sum(size for _, size in known)
        return Progress(
            rows=rows,
            utility=sum(utility * size for utility, size in known) / weight if weight else None,
            eta_seconds=eta_seconds(job.status, elapsed, done, rows),
            **{name: sum(getattr(record.progress, name) for record in shards) for name in SUMMED},
        )
