"""Conditions and locks for leased rows: work items, and messages of the outbox.

The fence stops a worker from writing under a lease that it has lost.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Table, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import LeaseLost
from service.lifecycle import WorkState
from service.records.work import Lease, WorkKind, WorkStatus
from service.storage.tables import work_items

WORK_STATE = (
    work_items.c.job_id,
    work_items.c.number,
    work_items.c.kind,
    work_items.c.payload,
    work_items.c.status,
    work_items.c.epoch,
    work_items.c.worker_id,
    work_items.c.lease_until,
    work_items.c.run_after,
    work_items.c.crashes,
)


def first_unlocked(query: "Select[Any]", table: Table, at_most: int) -> "Select[Any]":
    """Limit the query to its first `at_most` unlocked rows, and lock these until the transaction ends."""
    return query.limit(at_most).with_for_update(of=table, skip_locked=True, key_share=True)


def lease_expired(table: Table) -> ColumnElement[bool]:
    """True of a row whose lease has expired. It compares with the transaction's time, since an index can use that."""
    return table.c.lease_until < func.now()


def claim_is_current(table: Table, epoch: int, status: StrEnum) -> ColumnElement[bool]:
    """True of a row that still has this epoch, so nobody has claimed it since, and this status."""
    return and_(table.c.epoch == epoch, table.c.status == status)


def lease_is_current(lease: Lease) -> ColumnElement[bool]:
    """True of the lease's work item while the lease is current."""
    return and_(
        work_items.c.job_id == lease.job_id,
        work_items.c.number == lease.number,
        claim_is_current(work_items, lease.epoch, WorkStatus.RUNNING),
        work_items.c.worker_id == lease.worker_id,
    )


async def lock_lease(connection: AsyncConnection, lease: Lease) -> WorkState:
    """Lock the lease's work item until the transaction ends, so that nobody can claim it. Raises LeaseLost."""
    query = select(*WORK_STATE).where(lease_is_current(lease)).with_for_update(key_share=True)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise lease_lost(lease)
    return work_state(row)


def work_state(row: RowMapping) -> WorkState:
    """The work item in a row with the columns of `WORK_STATE`."""
    values = {"kind": WorkKind(row["kind"]), "status": WorkStatus(row["status"])}
    return WorkState(**{column.name: row[column.name] for column in WORK_STATE} | values)


def lease_lost(lease: Lease) -> LeaseLost:
    """The error for a write under a lost lease."""
    return LeaseLost(f"{lease.worker_id} no longer holds item {lease.number} of {lease.job_id} (epoch {lease.epoch})")
