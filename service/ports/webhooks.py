"""What webhooks ask of the store and of HTTP."""

from collections.abc import Sequence
from typing import Protocol

from service.identifiers import DeliveryId, WebhookId
from service.records.webhooks import (
    Answer,
    Attempt,
    Delivery,
    DeliveryLease,
    DueDelivery,
    NewWebhook,
    Verdict,
    Webhook,
    WebhookChange,
)


class Webhooks(Protocol):
    """The endpoints of a project and the log of what they were sent."""

    async def add(self, webhook: NewWebhook, *, at_most: int) -> Webhook:
        """Store an endpoint as of now. Raises QuotaExceeded where the project has so many."""

    async def get(self, webhook_id: WebhookId) -> Webhook:
        """The endpoint. Raises WebhookNotFound."""

    async def listed(self) -> list[Webhook]:
        """All of the project's, the oldest first."""

    async def change(self, webhook_id: WebhookId, change: WebhookChange) -> Webhook:
        """Change an endpoint. Raises WebhookNotFound.

        Disabled, it gives up what is pending; enabled, it starts with a clean record.
        """

    async def rotate(self, webhook_id: WebhookId, secret: str, *, overlap_seconds: float) -> Webhook:
        """Sign with another secret from now on, and for so long with the present one too. Raises WebhookNotFound."""

    async def remove(self, webhook_id: WebhookId) -> None:
        """Delete an endpoint with its log. Raises WebhookNotFound."""

    async def send_test(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Queue a message that only shows whether messages arrive. Raises WebhookNotFound, WebhookDisabled."""

    async def deliveries(self, webhook_id: WebhookId, *, limit: int, before: tuple[str, str] | None) -> list[Delivery]:
        """The log, newest first, older than the (created_at, id) given. Raises WebhookNotFound, InvalidCursor."""

    async def resend(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Send a message again from now on, under its old id, with as many tries as a new one.

        Raises WebhookNotFound, DeliveryNotFound, WebhookDisabled.
        """


class Deliveries(Protocol):
    """The outbox as workers see it: that of all projects."""

    async def claim(self, *, limit: int, per_webhook: int, lease_seconds: float) -> Sequence[DueDelivery]:
        """Lease messages that are due, the longest waiting first; about so many of one endpoint at once.

        A message whose lease has run out is due again: it may have been sent, and nobody said so.
        """

    async def record(self, lease: DeliveryLease, attempt: Attempt, verdict: Verdict) -> None:
        """Keep how a try went and what follows. Raises LeaseLost, and then nothing has changed.

        An endpoint that nothing has reached for days is disabled, whatever the verdict.
        """


class Sender(Protocol):
    """Sends one message to an address that a stranger has given."""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """One try, in bounded time. Raises NotDelivered."""
