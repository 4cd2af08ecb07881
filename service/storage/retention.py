"""Deletes data past its retention period from Postgres, a bounded number of rows at a time.

It skips locked rows until the next run, so no other transaction delays it. It locks only rows of jobs that ended long
ago, which no claim reads.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    Table,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    update,
)

from service.identifiers import DatasetId, JobId
from service.lifecycle import RETAINED_EVENTS
from service.records.access import AuditAction
from service.records.jobs import Swept
from service.records.webhooks import DeliveryStatus
from service.storage.account import TODAY
from service.storage.removal import erase, lock_items
from service.storage.tables import (
    audit_log,
    dataset_rows,
    events,
    gold_labels,
    idempotency_keys,
    jobs,
    label_states,
    labellings,
    project_tokens,
    webhook_deliveries,
)
from service.storage.trainings import named_artifacts, unneeded
from service.storage.unit_parts import UnitPart

_ELECTION = 4_932_685_001  # key of the advisory lock; nothing else in this database uses this number
_MAX_LOGS = 100  # shortened in one transaction
_STALLED = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
      AND state = 'active' AND wait_event = 'ClientRead' AND query NOT ILIKE 'copy %'
      AND greatest(xact_start, query_start, state_change) < clock_timestamp() - cast(:age AS interval)
""")


class RetentionTables(UnitPart):
    """The deletions of one maintenance transaction."""

    async def is_elected(self) -> bool:
        """Take the maintainers' lock; False if another one has it. The lock ends with the transaction."""
        lock = select(func.pg_try_advisory_xact_lock(_ELECTION))
        return bool((await self._connection.execute(lock)).scalar_one())

    async def end_stalled_transactions(self, age: timedelta) -> int:
        """End transactions of our role whose client has sent nothing for `age` between two messages of one statement.

        Before version 17 no time-out of Postgres ends these: a statement that is prepared but not run counts as
        running, and `statement_timeout` does not count waits for the client. COPY is exempt: it may wait for its data.
        """
        ended = await self._connection.execute(_STALLED, {"age": age})
        return len(ended.all())

    async def drop_idempotency_keys(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete Idempotency-Keys first used more than `age` ago."""
        old = idempotency_keys.c.created_at < _before(age)
        return await self._drop(idempotency_keys, old, idempotency_keys.c.created_at, at_most=at_most)

    async def drop_audit_entries(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete entries of the audit log older than `age`."""
        return await self._drop(audit_log, audit_log.c.at < _before(age), audit_log.c.at, at_most=at_most)

    async def drop_deliveries(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete webhook messages older than `age` that are no longer pending, with their attempts."""
        made = webhook_deliveries.c.created_at
        old = (made < _before(age)) & (webhook_deliveries.c.status != DeliveryStatus.PENDING)
        return await self._drop(webhook_deliveries, old, made, at_most=at_most)

    async def drop_usage(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete projects' daily token counts older than `age`."""
        day = project_tokens.c.day
        old = (day < cast(func.timezone("UTC", _before(age)), Date)) & (day < TODAY)
        return await self._drop(project_tokens, old, day, at_most=at_most)

    async def shorten_event_logs(self, age: timedelta, *, at_most: int) -> Swept:
        """Delete events of jobs that ended more than `age` ago, except lasting ones and the last of each job."""
        removed = 0
        for _ in range(_MAX_LOGS):
            job = (await self._connection.execute(_unshortened(age))).first()
            if job is None:
                return Swept(removed, is_done=True)
            deletable = events.c.type.not_in(RETAINED_EVENTS) & (events.c.sequence < job.last_event)
            own = (events.c.job_id == job.id) & deletable
            swept = await self._drop(events, own, events.c.sequence, at_most=at_most - removed)
            removed += swept.removed
            if not swept.is_done:
                return Swept(removed, is_done=False)
            await self._connection.execute(update(jobs).where(jobs.c.id == job.id).values(log_shortened=True))
        return Swept(removed, is_done=False)

    async def retire_jobs(self, age: timedelta, *, at_most: int) -> Swept:
        """Hide jobs that ended more than `age` ago, and delete their Idempotency-Keys at once."""
        old = (
            select(jobs.c.id)
            .where(jobs.c.finished_at < _before(age), jobs.c.retired_at.is_(None), unneeded())
            .order_by(jobs.c.finished_at)
            .limit(at_most)
            .with_for_update(skip_locked=True, key_share=True)
            .cte("old")
        )
        change = update(jobs).where(jobs.c.id.in_(select(old.c.id))).values(retired_at=func.clock_timestamp())
        retired = change.returning(jobs.c.id, jobs.c.project).cte("retired")
        entry = select(literal(AuditAction.JOB_EXPIRED.value), retired.c.id, retired.c.project)
        logged = insert(audit_log).from_select(["action", "target", "project"], entry).returning(audit_log.c.target)
        retired_ids = list(await self._connection.scalars(logged))
        await self._connection.execute(delete(idempotency_keys).where(idempotency_keys.c.job_id.in_(retired_ids)))
        return Swept(len(retired_ids), is_done=len(retired_ids) < at_most)

    async def erase_retired_jobs(self, *, at_most: int) -> Swept:
        """Delete a batch of rows of one retired job, or the job itself if it has no rows left."""
        query = select(jobs.c.id, labellings.c.dataset_id).outerjoin(labellings, labellings.c.job_id == jobs.c.id)
        query = query.where(jobs.c.retired_at.is_not(None), unneeded())  # another may have come to need it just before
        job = (await self._connection.execute(query.order_by(jobs.c.retired_at, jobs.c.id).limit(1))).first()
        if job is None:
            return Swept(0, is_done=True)
        for table, own in await self._large_parts(job.id, job.dataset_id):
            swept = await self._drop(table, own, *table.primary_key.columns, at_most=at_most)
            if swept.removed:
                return Swept(swept.removed, is_done=False)
        await lock_items(self._connection, jobs.c.id == job.id)
        await erase(self._connection, job.id)
        return Swept(1, is_done=False)

    async def named_artifacts(self, owners: Collection[JobId]) -> dict[JobId, frozenset[str] | None]:
        """The artifacts that each existing training of `owners` refers to; None if it has not ended."""
        return await named_artifacts(self._connection, owners)

    async def _large_parts(
        self, job_id: JobId, dataset_id: DatasetId | None
    ) -> list[tuple[Table, ColumnElement[bool]]]:
        """The tables with many rows of a job, each with the condition that selects them."""
        parts = [(table, table.c.job_id == job_id) for table in (label_states, events)]
        shared = exists().where(labellings.c.dataset_id == dataset_id, labellings.c.job_id != job_id)
        if not (await self._connection.execute(select(shared))).scalar_one():
            parts += [(table, table.c.dataset_id == dataset_id) for table in (gold_labels, dataset_rows)]
        return parts

    async def _drop(self, table: Table, which: ColumnElement[bool], *order: ColumnElement[Any], at_most: int) -> Swept:
        """Delete the first `at_most` rows of which `which` is true, skipping locked ones."""
        key = table.primary_key.columns
        first = select(*key).where(which).order_by(*order).limit(at_most).with_for_update(skip_locked=True).cte("first")
        deletion = delete(table).where(tuple_(*key).in_(select(*first.c)))
        removed = (await self._connection.execute(deletion)).rowcount
        return Swept(removed, is_done=removed < at_most)


def _before(age: timedelta) -> ColumnElement[Any]:
    """The time `age` ago by the database's clock."""
    return func.clock_timestamp() - age


def _unshortened(age: timedelta) -> "Select[Any]":
    """The next job that ended more than `age` ago and still has its whole log."""
    return (
        select(jobs.c.id, jobs.c.last_event)
        .where(jobs.c.finished_at < _before(age), ~jobs.c.log_shortened)
        .order_by(jobs.c.finished_at)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
    )
