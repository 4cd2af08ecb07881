"""What webhooks need from the outside, as Protocols, with the records that pass through them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from service.identifiers import DeliveryId, JobId, WebhookId

TEST_EVENT = "webhook.test"


class WebhookEvent(StrEnum):
    """What can be told by a webhook: what happens to a job, its progress excepted."""

    CREATED = "job.created"
    RUNNING = "job.running"
    PAUSED = "job.paused"
    RESUMED = "job.resumed"
    CANCEL_REQUESTED = "job.cancel_requested"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  # to be sent, or to be sent again
    DELIVERED = "delivered"  # the receiver has answered 2xx
    FAILED = "failed"  # given up; it can be resent


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An endpoint of a project: where to send what. The secrets are in neither `str` nor `repr`."""

    id: WebhookId
    url: str
    events: tuple[str, ...]
    description: str = ""
    enabled: bool = True
    disabled_reason: str | None = None  # where it was not disabled by its owner
    secret: str = field(repr=False)
    former_secret: str | None = field(default=None, repr=False)
    former_secret_until: datetime | None = None  # until then messages are signed with both
    created_at: datetime
    failing_since: datetime | None = None  # the first try in vain since the last success


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """An endpoint about to be stored; when it was made says the store's clock."""

    id: WebhookId
    url: str
    events: tuple[str, ...]
    description: str = ""
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChange:
    """What is to be changed of a webhook; None leaves it as it is."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A message about to be stored for one endpoint."""

    id: DeliveryId
    webhook_id: WebhookId
    job_id: JobId | None  # none of a test
    type: str
    body: bytes  # exactly what will be signed and sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to deliver. The receiver's answer is not kept, only its status."""

    at: datetime
    seconds: float
    status: int | None  # of the HTTP answer, where there was one
    error: str | None  # a short name, a colon and a sentence; none of a success


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message to one endpoint, as its log tells."""

    id: DeliveryId
    webhook_id: WebhookId
    type: str
    status: DeliveryStatus
    created_at: datetime
    tries: int  # since it was made or resent
    next_try_at: datetime | None  # while it is pending
    finished_at: datetime | None
    attempts: tuple[Attempt, ...] = ()  # the oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLease:
    """The right of one process to record how a try went, as long as the epoch stands."""

    delivery_id: DeliveryId
    webhook_id: WebhookId
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """A message to be sent now, with all that sending needs."""

    lease: DeliveryLease
    url: str
    body: bytes
    secrets: tuple[str, ...] = field(repr=False)  # all that sign; the newest first
    tries: int  # this one counted
    claimed_at: datetime  # by the store's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from a try."""

    status: DeliveryStatus
    wait_seconds: float = 0.0  # until the next one, where it is pending
    disable: str | None = None  # why the endpoint gets nothing any more


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver said: the status, and how long it asks to be left alone, in seconds."""

    status: int
    retry_after_seconds: float | None = None


class NotDelivered(Exception):
    """No answer came; `reason` is a short name that stays the same over releases."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class Sender(Protocol):
    """Sends one message to an address that a stranger has given."""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """One try, in bounded time. Raises NotDelivered."""
