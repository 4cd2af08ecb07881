"""The store's deletions of data past its retention period, as a Protocol.

The database's clock measures ages. Each call deletes a bounded number of rows, so that no transaction lasts long or
locks much.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Protocol

from service.identifiers import JobId
from service.records.jobs import Swept


class RetentionStore(Protocol):
    """One unit of work of maintenance, over all projects."""

    async def is_elected(self) -> bool:
        """Take the maintainers' lock until this unit of work ends; False if another one has it."""

    async def end_stalled_transactions(self, age: timedelta) -> int:
        """End transactions whose client has sent nothing for `age`, which releases their locks; returns how many."""

    async def drop_idempotency_keys(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete Idempotency-Keys first used more than `age` ago; a request with one of them creates a new job."""

    async def shorten_event_logs(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete events of jobs that ended more than `age` ago, except those that late readers of the log need."""

    async def retire_jobs(self, age: timedelta, *, at_most: int) -> Swept:
        """Hide jobs that ended more than `age` ago, with an entry in the audit log for each."""

    async def erase_retired_jobs(self, *, at_most: int) -> Swept:
        """Delete a batch of rows of one retired job, or the job itself if it has no rows left."""

    async def drop_usage(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete projects' daily token counts older than `age`, never today's."""

    async def drop_deliveries(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete webhook messages older than `age`, never pending ones."""

    async def drop_audit_entries(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete entries of the audit log older than `age`."""

    async def named_artifacts(self, owners: Collection[JobId]) -> Mapping[JobId, frozenset[str] | None]:
        """The artifacts that each existing training of `owners` refers to; None for one that has not ended."""
