"""Leases webhook messages of the outbox to workers, and records their delivery attempts under the lease's epoch."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, insert, or_, select, update

from service.errors import LeaseLost
from service.records.webhooks import Attempt, DeliveryLease, DeliveryStatus, DueDelivery, Verdict
from service.storage.fence import claim_is_current, first_unlocked, lease_expired
from service.storage.tables import webhook_attempts, webhook_deliveries, webhooks
from service.storage.unit_parts import UnitPart
from service.storage.webhooks import give_up_pending
from service.webhooks.schedule import given_up

_queue = webhook_deliveries.c


class DeliveryQueue(UnitPart):
    """The messages of all projects."""

    async def claim(self, *, limit: int, per_webhook: int, lease_seconds: float) -> Sequence[DueDelivery]:
        """Lease due messages, the oldest first, with about `per_webhook` of one endpoint in flight."""
        found = _claimable(limit, per_webhook).cte("found")
        now = func.clock_timestamp()
        is_former_good = webhooks.c.former_secret_until > now
        change = (
            update(webhook_deliveries)
            .where(_queue.id.in_(select(found.c.id)), webhooks.c.id == _queue.webhook_id)
            .values(epoch=_queue.epoch + 1, tries=_queue.tries + 1, lease_until=now + timedelta(seconds=lease_seconds))
            .returning(
                _queue.id,
                _queue.webhook_id,
                _queue.epoch,
                _queue.tries,
                _queue.body,
                webhooks.c.url,
                webhooks.c.secret,
                webhooks.c.former_secret,
                func.coalesce(is_former_good, False).label("is_former_good"),
                now.label("now"),
            )
        )
        return [_due(row) for row in await self._connection.execute(change)]

    async def record(self, lease: DeliveryLease, attempt: Attempt, verdict: Verdict) -> None:
        """Record an attempt and apply its verdict. Raises LeaseLost."""
        failing_since = await self._lock_webhook(lease)
        await self._apply_verdict(lease, verdict)
        tried = {"at": attempt.at, "seconds": attempt.seconds, "status": attempt.status, "error": attempt.error}
        values = {"delivery_id": lease.delivery_id, "epoch": lease.epoch, **tried}
        await self._connection.execute(insert(webhook_attempts).values(values))
        await self._update_webhook(lease, verdict, failing_since)

    async def _lock_webhook(self, lease: DeliveryLease) -> datetime | None:
        """Lock the endpoint; returns since when it has been failing. Raises LeaseLost."""
        query = select(webhooks.c.failing_since).where(webhooks.c.id == lease.webhook_id)
        row = (await self._connection.execute(query.with_for_update(key_share=True))).first()
        if row is None:
            raise _lease_lost(lease)
        failing_since: datetime | None = row.failing_since
        return failing_since

    async def _apply_verdict(self, lease: DeliveryLease, verdict: Verdict) -> None:
        now = func.clock_timestamp()
        waits = verdict.status is DeliveryStatus.PENDING
        change: dict[str, Any] = {"status": verdict.status, "lease_until": None}
        change |= {"next_try_at": now + timedelta(seconds=verdict.wait_seconds)} if waits else {"finished_at": now}
        settled = await self._connection.execute(
            update(webhook_deliveries).where(_lease_is_current(lease)).values(change)
        )
        if settled.rowcount == 0:
            raise _lease_lost(lease)

    async def _update_webhook(self, lease: DeliveryLease, verdict: Verdict, failing_since: datetime | None) -> None:
        """Record since when the endpoint has been failing, and disable it if the verdict or that time requires it."""
        here = webhooks.c.id == lease.webhook_id
        if verdict.status is DeliveryStatus.DELIVERED:
            if failing_since is not None:
                await self._connection.execute(update(webhooks).where(here).values(failing_since=None))
            return
        now = (await self._connection.execute(select(func.clock_timestamp()))).scalar_one()
        reason = verdict.disable or given_up(failing_since, now)
        change: dict[str, Any] = {"failing_since": failing_since or now}
        if reason is not None:
            change |= {"enabled": False, "disabled_reason": reason}
        await self._connection.execute(update(webhooks).where(here).values(change))
        if reason is not None:
            await give_up_pending(self._connection, lease.webhook_id)


def _is_due() -> ColumnElement[bool]:
    """True of due messages that nobody is sending, by the transaction's time, which an index can use."""
    is_unleased = or_(_queue.lease_until.is_(None), lease_expired(webhook_deliveries))
    return and_(_queue.status == DeliveryStatus.PENDING, _queue.next_try_at <= func.now(), is_unleased)


def _claimable(limit: int, per_webhook: int) -> "Select[Any]":
    """A query that locks the messages to send now, and skips those that another worker is claiming."""
    order = (_queue.next_try_at, _queue.id)
    place = func.row_number().over(partition_by=_queue.webhook_id, order_by=order).label("place")
    due = select(_queue.id, place).where(_is_due()).subquery("due")
    is_under_way = and_(_queue.status == DeliveryStatus.PENDING, _queue.lease_until >= func.now())
    number = func.count().label("number")
    busy = select(_queue.webhook_id, number).where(is_under_way).group_by(_queue.webhook_id).subquery("busy")
    query = (
        select(_queue.id)
        .join(due, due.c.id == _queue.id)
        .join(webhooks, webhooks.c.id == _queue.webhook_id)
        .outerjoin(busy, busy.c.webhook_id == _queue.webhook_id)
        .where(webhooks.c.enabled, due.c.place + func.coalesce(busy.c.number, 0) <= per_webhook, _is_due())
        .order_by(*order)
    )
    return first_unlocked(query, webhook_deliveries, limit)


def _lease_is_current(lease: DeliveryLease) -> ColumnElement[bool]:
    """True of the message while the lease is current: nobody has claimed it since, and it is still pending."""
    return and_(
        _queue.id == lease.delivery_id, claim_is_current(webhook_deliveries, lease.epoch, DeliveryStatus.PENDING)
    )


def _lease_lost(lease: DeliveryLease) -> LeaseLost:
    return LeaseLost(f"delivery {lease.delivery_id} is no longer held (epoch {lease.epoch})")


def _due(row: Any) -> DueDelivery:
    lease = DeliveryLease(delivery_id=row.id, webhook_id=row.webhook_id, epoch=row.epoch)
    former = (row.former_secret,) if row.is_former_good and row.former_secret else ()
    return DueDelivery(
        lease=lease,
        url=row.url,
        body=row.body,
        secrets=(row.secret, *former),
        tries=row.tries,
        claimed_at=row.now,
    )
