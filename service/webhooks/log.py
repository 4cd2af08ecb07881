"""Use cases for the delivery log of a webhook: list it, send a message again, send a test message."""

from service.identifiers import DeliveryId, WebhookId, new_delivery_id
from service.ports.store import ProjectStore
from service.records.access import AuditAction, AuditEntry
from service.records.webhooks import Delivery


async def list_deliveries(
    store: ProjectStore, webhook_id: WebhookId, *, limit: int, before: tuple[str, str] | None
) -> tuple[list[Delivery], bool]:
    """A page of the log, newest first, older than the given (created_at, id), and whether more follow.

    Raises WebhookNotFound and InvalidCursor.
    """
    async with store.project_unit() as unit:
        deliveries = await unit.webhooks.deliveries(webhook_id, limit=limit + 1, before=before)
    return deliveries[:limit], len(deliveries) > limit


async def resend(store: ProjectStore, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
    """Queue a message again under its old id. Raises WebhookNotFound, DeliveryNotFound, WebhookDisabled."""
    async with store.project_unit() as unit:
        delivery = await unit.webhooks.resend(webhook_id, delivery_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.WEBHOOK_RESENT, delivery_id))
    return delivery


async def send_test(store: ProjectStore, webhook_id: WebhookId) -> Delivery:
    """Queue a test message. Raises WebhookNotFound, WebhookDisabled."""
    async with store.project_unit() as unit:
        delivery = await unit.webhooks.send_test(webhook_id, new_delivery_id())
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.WEBHOOK_TESTED, webhook_id))
    return delivery
