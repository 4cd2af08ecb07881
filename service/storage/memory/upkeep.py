"""Removes what is old from the twin."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from service.entities import AuditAction, AuditEntry, Caller, Event, Job
from service.identifiers import JobId
from service.ports.retention import Swept
from service.ports.webhooks import DeliveryStatus
from service.storage.lifecycle import LASTING_EVENTS
from service.storage.memory.removal import erase
from service.storage.memory.state import State, Table

K = TypeVar("K")
V = TypeVar("V")


class MemoryUpkeep:
    """One unit of work of the maintainer; the twin has one of any kind at a time."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def is_elected(self) -> bool:
        """Nobody else is here."""
        return True

    async def end_stalled_transactions(self, age: timedelta) -> int:  # noqa: ARG002 - the port's
        """The twin's transactions run in this process alone."""
        return 0

    async def drop_idempotency_keys(self, age: timedelta, *, at_most: int) -> Swept:
        """Forget keys that were first used so long ago."""
        before = self._state.now() - age
        keys = self._state.keys
        return _drop(keys, (key for key, used in keys.items() if used.claimed_at < before), at_most)

    async def drop_audit_entries(self, age: timedelta, *, at_most: int) -> Swept:
        """Drop entries of the audit log that are so old."""
        before = self._state.now() - age
        log = self._state.audit
        return _drop(log, (number for number, entry in log.items() if entry.at and entry.at < before), at_most)

    async def drop_deliveries(self, age: timedelta, *, at_most: int) -> Swept:
        """Drop messages to webhooks that were made so long ago and are not to be sent any more."""
        before = self._state.now() - age
        made = ((number, record.delivery) for number, record in self._state.deliveries.items())
        old = (number for number, it in made if it.created_at < before and it.status is not DeliveryStatus.PENDING)
        return _drop(self._state.deliveries, old, at_most)

    async def drop_usage(self, age: timedelta, *, at_most: int) -> Swept:
        """Forget what projects used on days that lie so far back."""
        now = self._state.now().astimezone(UTC)
        before = min((now - age).date(), now.date())
        tokens = self._state.tokens
        return _drop(tokens, (used for used, _ in tokens.items() if used[1] < before), at_most)

    async def shorten_event_logs(self, age: timedelta, *, at_most: int) -> Swept:
        """Drop events of jobs that ended so long ago, but for those that are needed and the last of each."""
        removed = 0
        for job in self._ended_before(self._state.now() - age):
            log = self._state.events.get(job.id) or ()
            fleeting = [event for event in log[:-1] if event.type not in LASTING_EVENTS][: at_most - removed]
            if fleeting:
                self._state.events.put(job.id, _without(log, fleeting))
                removed += len(fleeting)
        return Swept(removed, is_done=removed < at_most)

    async def retire_jobs(self, age: timedelta, *, at_most: int) -> Swept:
        """Take jobs that ended so long ago out of everybody's sight; here they are erased at once."""
        old = self._ended_before(self._state.now() - age)[:at_most]
        for job in old:
            self._note(job.id)
            erase(self._state, job.id)
        return Swept(len(old), is_done=len(old) < at_most)

    async def erase_retired_jobs(self, *, at_most: int) -> Swept:  # noqa: ARG002 - the port's
        """There is nothing left of them."""
        return Swept(0, is_done=True)

    def _ended_before(self, moment: datetime) -> list[Job]:
        jobs = [job for _, job in self._state.jobs.items() if job.finished_at and job.finished_at < moment]
        return sorted(jobs, key=lambda job: (job.finished_at, job.id))

    def _note(self, job_id: JobId) -> None:
        nobody = Caller(project=self._state.owner_of(job_id))
        self._state.enter(AuditEntry.by(nobody, AuditAction.JOB_EXPIRED, job_id))


def _drop(table: Table[K, V], old: Iterable[K], at_most: int) -> Swept:
    keys = list(old)[:at_most]
    for key in keys:
        table.drop(key)
    return Swept(len(keys), is_done=len(keys) < at_most)


def _without(log: tuple[Event, ...], fleeting: list[Event]) -> tuple[Event, ...]:
    gone = {event.sequence for event in fleeting}
    return tuple(event for event in log if event.sequence not in gone)
