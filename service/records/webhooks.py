"""Records of webhooks and of what they are sent."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from service.identifiers import DeliveryId, WebhookId

TEST_EVENT = "webhook.test"


class WebhookEvent(StrEnum):
    """The events that a webhook can report: all events of a job but its progress."""

    CREATED = "job.created"
    RUNNING = "job.running"
    PAUSED = "job.paused"
    RESUMED = "job.resumed"
    CANCEL_REQUESTED = "job.cancel_requested"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"


class DeliveryStatus(StrEnum):
    """The state of a delivery."""

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
    failing_since: datetime | None = None  # the first failed attempt since the last success


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """An endpoint about to be stored; the database's clock sets its time."""

    id: WebhookId
    url: str
    events: tuple[str, ...]
    description: str = ""
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChange:
    """The fields of a webhook to change; None leaves a field unchanged."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to deliver. Only the status of the receiver's answer is stored."""

    at: datetime
    seconds: float
    status: int | None  # of the HTTP answer, if there was one
    error: str | None  # a short name, a colon and a sentence; none after a success


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message to one endpoint, as its log shows it."""

    id: DeliveryId
    webhook_id: WebhookId
    type: str
    status: DeliveryStatus
    created_at: datetime
    tries: int  # since it was created or resent
    next_try_at: datetime | None  # while it is pending
    finished_at: datetime | None
    attempts: tuple[Attempt, ...] = ()  # the oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLease:
    """The right of one process to record an attempt, as long as the epoch is current."""

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
    tries: int  # this one included
    claimed_at: datetime  # by the store's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The consequence of an attempt."""

    status: DeliveryStatus
    wait_seconds: float = 0.0  # until the next attempt of a pending message
    disable: str | None = None  # the reason to disable the endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A receiver's answer: the status, and its Retry-After in seconds."""

    status: int
    retry_after_seconds: float | None = None


class NotDelivered(Exception):
    """No answer came; `reason` is a short name that stays the same over releases."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
