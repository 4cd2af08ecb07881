"""Stores a project's webhook endpoints and the log of their deliveries in Postgres.

A transaction that needs several locks takes them in this order: job, endpoint, delivery.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import DeliveryNotFound, QuotaExceeded, QuotaState, WebhookDisabled, WebhookNotFound
from service.identifiers import DeliveryId, WebhookId
from service.records.webhooks import TEST_EVENT, Attempt, Delivery, DeliveryStatus, NewWebhook, Webhook, WebhookChange
from service.storage.account import AccountTable
from service.storage.records import parsed_time
from service.storage.tables import webhook_attempts, webhook_deliveries, webhooks
from service.storage.unit_parts import ProjectPart
from service.webhooks.messages import trial_message

_DELIVERY_COLUMNS = ("id", "webhook_id", "type", "status", "created_at", "tries", "next_try_at", "finished_at")


class WebhookTable(ProjectPart):
    """One project's endpoints."""

    async def add(self, webhook: NewWebhook, *, at_most: int) -> Webhook:
        """Store a new endpoint. Raises QuotaExceeded if the project has `at_most` already."""
        await AccountTable(self._connection, self._project).lock()
        query = select(func.count()).select_from(webhooks).where(webhooks.c.project == self._project)
        used = (await self._connection.execute(query)).scalar_one()
        if used >= at_most:
            state = QuotaState(quota="webhooks", limit=at_most, used=used)
            raise QuotaExceeded(f"the project has {used} webhooks, and {at_most} are allowed", state)
        values = {
            "id": webhook.id,
            "project": self._project,
            "url": webhook.url,
            "events": list(webhook.events),
            "description": webhook.description,
            "enabled": True,
            "secret": webhook.secret,
            "created_at": func.clock_timestamp(),
        }
        added = insert(webhooks).values(values).returning(*webhooks.c)
        return _webhook((await self._connection.execute(added)).mappings().one())

    async def get(self, webhook_id: WebhookId) -> Webhook:
        """The endpoint. Raises WebhookNotFound."""
        row = (await self._connection.execute(select(*webhooks.c).where(self._owned(webhook_id)))).mappings().first()
        return _existing(row, webhook_id)

    async def list_all(self) -> list[Webhook]:
        """All endpoints of the project, the oldest first."""
        query = select(*webhooks.c).where(webhooks.c.project == self._project)
        query = query.order_by(webhooks.c.created_at, webhooks.c.id)
        return [_webhook(row) for row in (await self._connection.execute(query)).mappings()]

    async def change(self, webhook_id: WebhookId, change: WebhookChange) -> Webhook:
        """Change an endpoint. Raises WebhookNotFound."""
        before = await self._locked(webhook_id)
        values: dict[str, Any] = {}
        if change.url is not None:
            values["url"] = change.url
        if change.events is not None:
            values["events"] = list(change.events)
        if change.description is not None:
            values["description"] = change.description
        if change.enabled is not None and change.enabled != before.enabled:
            values |= {"enabled": change.enabled, "disabled_reason": None, "failing_since": None}
        if not values:
            return before
        changed = await self._update(webhook_id, values)
        if before.enabled and not changed.enabled:
            await give_up_pending(self._connection, webhook_id)
        return changed

    async def rotate(self, webhook_id: WebhookId, secret: str, *, overlap_seconds: float) -> Webhook:
        """Replace the secret; for `overlap_seconds` the old one signs, too. Raises WebhookNotFound."""
        before = await self._locked(webhook_id)
        until = func.clock_timestamp() + timedelta(seconds=overlap_seconds)
        values = {"secret": secret, "former_secret": before.secret, "former_secret_until": until}
        return await self._update(webhook_id, values)

    async def remove(self, webhook_id: WebhookId) -> None:
        """Delete an endpoint with its log. Raises WebhookNotFound."""
        deleted = await self._connection.execute(delete(webhooks).where(self._owned(webhook_id)))
        if deleted.rowcount == 0:
            raise _webhook_not_found(webhook_id)

    async def send_test(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Queue a test message. Raises WebhookNotFound, WebhookDisabled."""
        _check_enabled(await self._locked(webhook_id))
        now = (await self._connection.execute(select(func.clock_timestamp()))).scalar_one()
        values = {
            "id": delivery_id,
            "webhook_id": webhook_id,
            "type": TEST_EVENT,
            "body": trial_message(now),
            "status": DeliveryStatus.PENDING,
        }
        await self._connection.execute(insert(webhook_deliveries).values(values))
        return await self._delivery(webhook_id, delivery_id)

    async def deliveries(self, webhook_id: WebhookId, *, limit: int, before: tuple[str, str] | None) -> list[Delivery]:
        """Deliveries older than the (created_at, id) given, newest first. Raises WebhookNotFound, InvalidCursor."""
        await self.get(webhook_id)
        log = webhook_deliveries.c
        query = _select_log().where(log.webhook_id == webhook_id)
        query = query.order_by(log.created_at.desc(), log.id.desc()).limit(limit)
        if before is not None:
            query = query.where(tuple_(log.created_at, log.id) < tuple_(parsed_time(before[0]), before[1]))
        rows = (await self._connection.execute(query)).mappings().all()
        attempts = await self._attempts(row["id"] for row in rows)
        return [_delivery(row, attempts.get(row["id"], ())) for row in rows]

    async def resend(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Queue a message again, with as many attempts as a new one.

        Raises WebhookNotFound, DeliveryNotFound, WebhookDisabled.
        """
        webhook = await self._locked(webhook_id)
        await self._delivery(webhook_id, delivery_id)
        _check_enabled(webhook)
        again = {"status": DeliveryStatus.PENDING, "tries": 0, "finished_at": None}
        which = webhook_deliveries.c.id == delivery_id
        change = update(webhook_deliveries).where(which).values(**again, next_try_at=func.clock_timestamp())
        await self._connection.execute(change)
        return await self._delivery(webhook_id, delivery_id)

    def _owned(self, webhook_id: WebhookId) -> ColumnElement[bool]:
        return (webhooks.c.id == webhook_id) & (webhooks.c.project == self._project)

    async def _locked(self, webhook_id: WebhookId) -> Webhook:
        """The endpoint, locked until the transaction ends. Raises WebhookNotFound."""
        query = select(*webhooks.c).where(self._owned(webhook_id)).with_for_update(key_share=True)
        return _existing((await self._connection.execute(query)).mappings().first(), webhook_id)

    async def _update(self, webhook_id: WebhookId, values: Mapping[str, Any]) -> Webhook:
        change = update(webhooks).where(self._owned(webhook_id)).values(**values).returning(*webhooks.c)
        return _existing((await self._connection.execute(change)).mappings().first(), webhook_id)

    async def _delivery(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        log = webhook_deliveries.c
        query = _select_log().where(log.id == delivery_id, log.webhook_id == webhook_id)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise DeliveryNotFound(f"the webhook has no delivery {delivery_id}")
        return _delivery(row, (await self._attempts([delivery_id])).get(delivery_id, ()))

    async def _attempts(self, delivery_ids: Iterable[DeliveryId]) -> dict[DeliveryId, list[Attempt]]:
        query = select(*webhook_attempts.c).where(webhook_attempts.c.delivery_id.in_(list(delivery_ids)))
        found: dict[DeliveryId, list[Attempt]] = {}
        for row in await self._connection.execute(query.order_by(webhook_attempts.c.epoch)):
            attempt = Attempt(at=row.at, seconds=row.seconds, status=row.status, error=row.error)
            found.setdefault(row.delivery_id, []).append(attempt)
        return found


async def give_up_pending(connection: AsyncConnection, webhook_id: WebhookId) -> None:
    """Fail the pending messages of a disabled endpoint; an attempt in progress is not recorded any more."""
    pending = (webhook_deliveries.c.webhook_id == webhook_id) & (webhook_deliveries.c.status == DeliveryStatus.PENDING)
    failed = {"status": DeliveryStatus.FAILED, "lease_until": None, "finished_at": func.clock_timestamp()}
    await connection.execute(update(webhook_deliveries).where(pending).values(failed))


def _webhook_not_found(webhook_id: WebhookId) -> WebhookNotFound:
    return WebhookNotFound(f"there is no webhook {webhook_id}")


def _check_enabled(webhook: Webhook) -> None:
    """Raises WebhookDisabled."""
    if not webhook.enabled:
        raise WebhookDisabled(f"webhook {webhook.id} is disabled; enable it first")


def _select_log() -> Any:
    return select(*(webhook_deliveries.c[name] for name in _DELIVERY_COLUMNS))


def _existing(row: Mapping[Any, Any] | None, webhook_id: WebhookId) -> Webhook:
    if row is None:
        raise _webhook_not_found(webhook_id)
    return _webhook(row)


def _webhook(row: Mapping[Any, Any]) -> Webhook:
    values = {name: value for name, value in row.items() if name != "project"}
    return Webhook(**{**values, "events": tuple(row["events"])})


def _delivery(row: Mapping[Any, Any], attempts: Sequence[Attempt]) -> Delivery:
    status = DeliveryStatus(row["status"])
    waits = status is DeliveryStatus.PENDING
    changed = {"status": status, "next_try_at": row["next_try_at"] if waits else None}
    return Delivery(**{**row, **changed}, attempts=tuple(attempts))
