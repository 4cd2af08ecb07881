"""Bodies of requests and answers about webhooks."""

from datetime import datetime
from typing import Annotated, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from api.edge.bodies import read_json
from api.schemas import Body, read_at
from service.errors import Fault, InvalidInput
from service.jobs.checks.plain_words import sentence, unknown_field
from service.records.webhooks import DeliveryStatus, WebhookChange, WebhookEvent
from service.webhooks.addresses import LONGEST_URL

M = TypeVar("M", bound=BaseModel)

_MAX_BYTES = 20_000
_ABOUT_URL = "https, to a public address; http and other addresses only if the operator allows them"
_ABOUT_EVENTS = "events to report; by default the ends of jobs and pauses"
_Url = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)]
_Events = Annotated[list[WebhookEvent], Field(min_length=1, max_length=len(WebhookEvent))]
_Description = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewWebhookBody(_Request):
    """A new webhook."""

    url: _Url = Field(description=_ABOUT_URL)
    events: _Events | None = Field(None, description=_ABOUT_EVENTS)
    description: _Description = ""


class WebhookChangeBody(_Request):
    """The properties to change; the others stay."""

    url: _Url | None = Field(None, description=_ABOUT_URL)
    events: _Events | None = None
    description: _Description | None = None
    enabled: StrictBool | None = Field(None, description="false drops pending messages")

    def change(self) -> WebhookChange:
        """Convert the body for the use case."""
        events = None if self.events is None else unique(self.events)
        return WebhookChange(url=self.url, events=events, description=self.description, enabled=self.enabled)


class WebhookBody(Body):
    """A webhook, without its secret."""

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="reason, if the service has disabled it")
    created_at: datetime
    failing_since: datetime | None = Field(description="time of the first failed attempt since the last success")
    former_secret_until: datetime | None = Field(description="time until which the old secret signs as well")


class WebhookWithSecret(WebhookBody):
    """A webhook with its secret, which only this answer shows."""

    secret: str = Field(description="secret with which receivers verify messages; whsec_ and Base64")


class WebhookList(BaseModel):
    """The project's webhooks, oldest first."""

    object: Literal["list"] = "list"
    data: list[WebhookBody]


class AttemptBody(Body):
    """One attempt to deliver a message."""

    at: datetime
    seconds: float
    status: int | None = Field(description="status of the receiver's answer; null without an answer")
    error: str | None = Field(description="a name, a colon and a sentence; null after a success")


class DeliveryBody(Body):
    """A message to a webhook; `id` is its `webhook-id`."""

    id: str
    object: Literal["delivery"] = "delivery"
    webhook_id: str
    type: str
    status: DeliveryStatus
    created_at: datetime
    tries: int = Field(description="attempts since its creation or the last resend")
    next_try_at: datetime | None
    finished_at: datetime | None
    last_status: Annotated[int | None, BeforeValidator(lambda attempts: attempts[-1].status if attempts else None)] = (
        read_at("attempts", description="status of the last answer; null without an answer")
    )
    last_error: Annotated[str | None, BeforeValidator(lambda attempts: attempts[-1].error if attempts else None)] = (
        read_at("attempts")
    )
    attempts: list[AttemptBody] = Field(description="attempts, oldest first")


def unique(events: list[WebhookEvent]) -> tuple[str, ...]:
    """Return each event once, in the form of the database."""
    return tuple(dict.fromkeys(event.value for event in events))


async def read_body(request: Request, body: type[M]) -> M:
    """Read the JSON body of a request, within limits.

    Raises UnsupportedFormat, PayloadTooLarge, and InvalidInput with a fault for each field.
    """
    content = await read_json(request, _MAX_BYTES)
    try:
        return body.model_validate(content)
    except ValidationError as error:
        faults = [
            Fault(_words(found, body), field=".".join(map(str, found["loc"])) or "body") for found in error.errors()
        ]
        raise InvalidInput("the body cannot be used", faults) from error


def _words(found: ErrorDetails, body: type[BaseModel]) -> str:
    if found["type"] == "extra_forbidden":
        return unknown_field(found["loc"], body)
    return sentence(found["type"], found["msg"], found.get("ctx", {}))
