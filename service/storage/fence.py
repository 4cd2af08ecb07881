"""Leases of rows, whether work items or messages in the outbox: who may claim one, and the fence around it.

The fence keeps a worker from writing under a lease that is no longer its own.
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


def first_free(query: "Select[Any]", table: Table, at_most: int) -> "Select[Any]":
    """The first rows of the query that nobody else has locked just now, kept from rivals until the transaction ends."""
    return query.limit(at_most).with_for_update(of=table, skip_locked=True, key_share=True)


def has_run_out(table: Table) -> ColumnElement[bool]:
    """True of a row whose lease is over, by the transaction's time, which an index can use."""
    return table.c.lease_until < func.now()


def stands(table: Table, epoch: int, status: StrEnum) -> ColumnElement[bool]:
    """True of a row that nobody has claimed since that epoch, and that has not left this status."""
    return and_(table.c.epoch == epoch, table.c.status == status)


def holds(lease: Lease) -> ColumnElement[bool]:
    """True of the leased item as long as the lease stands."""
    return and_(
        work_items.c.job_id == lease.job_id,
        work_items.c.number == lease.number,
        stands(work_items, lease.epoch, WorkStatus.RUNNING),
        work_items.c.worker_id == lease.worker_id,
    )


async def hold(connection: AsyncConnection, lease: Lease) -> WorkState:
    """Keep the item from being claimed until the transaction ends. Raises LeaseLost."""
    query = select(*WORK_STATE).where(holds(lease)).with_for_update(key_share=True)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise lease_lost(lease)
    return work_state(row)


def work_state(row: RowMapping) -> WorkState:
    """The item told by the columns of `WORK_STATE`."""
    told = {"kind": WorkKind(row["kind"]), "status": WorkStatus(row["status"])}
    return WorkState(**{**{column.name: row[column.name] for column in WORK_STATE}, **told})


def lease_lost(lease: Lease) -> LeaseLost:
    """The error for a write that came too late."""
    return LeaseLost(f"{lease.worker_id} no longer holds item {lease.number} of {lease.job_id} (epoch {lease.epoch})")
