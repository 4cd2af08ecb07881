"""Appends to the event logs of jobs in Postgres, and reads them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from service.identifiers import JobId
from service.lifecycle import Entry
from service.records.jobs import Event
from service.records.work import Lease
from service.storage.fence import lock_lease
from service.storage.journal import Journal
from service.storage.progress import owned
from service.storage.tables import events, jobs
from service.storage.unit_parts import ProjectPart, UnitPart


class EventLog(ProjectPart):
    """The event logs of a project's jobs, for the API."""

    async def append(self, job_id: JobId, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event; its sequence number follows the commit order within the job. Raises JobNotFound."""
        journal = Journal(self._connection)
        await journal.lock(job_id, owned(job_id, self._project))
        await journal.append(job_id, Entry(event_type, data))

    async def after(self, job_id: JobId, sequence: int, *, limit: int) -> list[Event]:
        """Events with a higher sequence number, oldest first."""
        query = (
            select(events.c.sequence, events.c.type, events.c.created_at, events.c.data)
            .join(jobs, jobs.c.id == events.c.job_id)
            .where(owned(job_id, self._project), events.c.sequence > sequence)
            .order_by(events.c.sequence)
            .limit(limit)
        )
        return [Event(**row) for row in (await self._connection.execute(query)).mappings()]


class LeasedEventLog(UnitPart):
    """The event logs, for workers: every write needs a lease."""

    async def append(self, lease: Lease, event_type: str, data: Mapping[str, Any]) -> None:
        """Add an event to the job's log. Raises LeaseLost."""
        await lock_lease(self._connection, lease)
        await Journal(self._connection).append(lease.job_id, Entry(event_type, data))
