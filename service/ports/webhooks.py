"""The store and the HTTP client that webhooks need, as Protocols."""

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
    """A project's endpoints and the log of their deliveries."""

    async def add(self, webhook: NewWebhook, *, at_most: int) -> Webhook:
        """Store a new endpoint. Raises QuotaExceeded if the project has `at_most` already."""

    async def get(self, webhook_id: WebhookId) -> Webhook:
        """The endpoint. Raises WebhookNotFound."""

    async def list_all(self) -> list[Webhook]:
        """All endpoints of the project, the oldest first."""

    async def change(self, webhook_id: WebhookId, change: WebhookChange) -> Webhook:
        """Change an endpoint. Raises WebhookNotFound.

        Disabling it fails its pending messages; enabling it clears its record of failures.
        """

    async def rotate(self, webhook_id: WebhookId, secret: str, *, overlap_seconds: float) -> Webhook:
        """Replace the secret; for `overlap_seconds` the old one signs, too. Raises WebhookNotFound."""

    async def remove(self, webhook_id: WebhookId) -> None:
        """Delete an endpoint with its log. Raises WebhookNotFound."""

    async def send_test(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Queue a test message. Raises WebhookNotFound, WebhookDisabled."""

    async def deliveries(self, webhook_id: WebhookId, *, limit: int, before: tuple[str, str] | None) -> list[Delivery]:
        """Deliveries older than the (created_at, id) given, newest first. Raises WebhookNotFound, InvalidCursor."""

    async def resend(self, webhook_id: WebhookId, delivery_id: DeliveryId) -> Delivery:
        """Queue a message again under its old id, with as many attempts as a new one.

        Raises WebhookNotFound, DeliveryNotFound, WebhookDisabled.
        """


class Deliveries(Protocol):
    """The outbox of all projects, for workers."""

    async def claim(self, *, limit: int, per_webhook: int, lease_seconds: float) -> Sequence[DueDelivery]:
        """Lease due messages, the oldest first, with about `per_webhook` of one endpoint in flight.

        A message whose lease has expired is due again, although the worker may have sent it.
        """

    async def record(self, lease: DeliveryLease, attempt: Attempt, verdict: Verdict) -> None:
        """Record an attempt and apply its verdict. Raises LeaseLost, and then changes nothing.

        It disables an endpoint that no message has reached for days, whatever the verdict.
        """


class Sender(Protocol):
    """Sends a message to an untrusted address."""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Make one attempt in bounded time. Raises NotDelivered."""
