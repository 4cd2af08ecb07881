"""What deleting data past its retention period asks of the store.

Ages are measured by the database's clock. Each call removes a bounded number of things, so that no unit of work
lasts long or holds much.
"""

from datetime import timedelta
from typing import Protocol

from service.ports.trainings import ArtifactNames
from service.records.jobs import Swept


class RetentionStore(ArtifactNames, Protocol):
    """One unit of work of the maintainer, who knows all projects."""

    async def is_elected(self) -> bool:
        """Whether no other unit of work of this kind was elected and has not ended: at most one does the work."""

    async def end_stalled_transactions(self, age: timedelta) -> int:
        """End transactions whose process has left them half-way for so long, with their locks; how many there were."""

    async def drop_idempotency_keys(self, age: timedelta, *, at_most: int) -> Swept:
        """Forget keys that were first used so long ago; a request with one of them makes a job anew."""

    async def shorten_event_logs(self, age: timedelta, *, at_most: int) -> Swept:
        """Drop events of jobs that ended so long ago, but for those that the report and readers of the end need."""

    async def retire_jobs(self, age: timedelta, *, at_most: int) -> Swept:
        """Take jobs that ended so long ago out of everybody's sight, with an entry in the audit log for each."""

    async def erase_retired_jobs(self, *, at_most: int) -> Swept:
        """Delete rows, labels and events of one retired job, and in the end the job."""

    async def drop_usage(self, age: timedelta, *, at_most: int) -> Swept:
        """Forget what projects used on days that lie so far back, today never among them."""

    async def drop_deliveries(self, age: timedelta, *, at_most: int) -> Swept:
        """Drop messages to webhooks that were made so long ago, never one that is still to be sent."""

    async def drop_audit_entries(self, age: timedelta, *, at_most: int) -> Swept:
        """Drop entries of the audit log that are so old."""
