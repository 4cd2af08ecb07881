"""Use cases that create, list, change and delete the webhooks of a project."""

from service.errors import Fault, InvalidInput
from service.identifiers import WebhookId, new_webhook_id
from service.ports.store import ProjectStore
from service.records.access import AuditAction, AuditEntry
from service.records.webhooks import NewWebhook, Webhook, WebhookChange, WebhookEvent
from service.webhooks.addresses import AddressPolicy, AddressRefused
from service.webhooks.signing import new_secret

DEFAULT_EVENTS = (WebhookEvent.SUCCEEDED, WebhookEvent.FAILED, WebhookEvent.CANCELLED, WebhookEvent.PAUSED)
ROTATION_SECONDS = 24 * 3600.0  # time for receivers to change to the new secret


async def create_webhook(
    store: ProjectStore, policy: AddressPolicy, *, url: str, events: tuple[str, ...], description: str, at_most: int
) -> Webhook:
    """Create a webhook for the caller; only this result shows its secret. Raises InvalidInput, QuotaExceeded."""
    _check_url(policy, url)
    new = NewWebhook(
        id=new_webhook_id(),
        url=url,
        events=events or DEFAULT_EVENTS,
        description=description,
        secret=new_secret(),
    )
    async with store.project_unit() as unit:
        webhook = await unit.webhooks.add(new, at_most=at_most)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.WEBHOOK_CREATED, webhook.id))
    return webhook


async def list_webhooks(store: ProjectStore) -> list[Webhook]:
    """The project's webhooks, oldest first."""
    async with store.project_unit() as unit:
        return await unit.webhooks.list_all()


async def read_webhook(store: ProjectStore, webhook_id: WebhookId) -> Webhook:
    """One webhook. Raises WebhookNotFound."""
    async with store.project_unit() as unit:
        return await unit.webhooks.get(webhook_id)


async def change_webhook(
    store: ProjectStore, policy: AddressPolicy, webhook_id: WebhookId, change: WebhookChange
) -> Webhook:
    """Change a webhook. Raises WebhookNotFound, InvalidInput."""
    async with store.project_unit() as unit:
        await unit.webhooks.get(webhook_id)  # another project's webhook is "not found", whatever else is wrong
        if change.url is not None:
            _check_url(policy, change.url)
        webhook = await unit.webhooks.change(webhook_id, change)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.WEBHOOK_CHANGED, webhook_id))
    return webhook


async def rotate_secret(store: ProjectStore, webhook_id: WebhookId) -> Webhook:
    """Give a webhook a new secret, which only this result shows; for a day both sign. Raises WebhookNotFound."""
    async with store.project_unit() as unit:
        webhook = await unit.webhooks.rotate(webhook_id, new_secret(), overlap_seconds=ROTATION_SECONDS)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.WEBHOOK_ROTATED, webhook_id))
    return webhook


async def delete_webhook(store: ProjectStore, webhook_id: WebhookId) -> None:
    """Delete a webhook with its log. Raises WebhookNotFound."""
    async with store.project_unit() as unit:
        await unit.webhooks.remove(webhook_id)
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.WEBHOOK_DELETED, webhook_id))


def _check_url(policy: AddressPolicy, url: str) -> None:
    try:
        policy.check_url(url)
    except AddressRefused as error:
        raise InvalidInput("webhooks cannot be sent there", [Fault(str(error), field="url")]) from error
