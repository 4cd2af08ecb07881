"""Bodies of requests and answers about webhooks."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

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
_ABOUT_URL = "https, to a public address; http and other addresses only where the operator allows them"
_ABOUT_EVENTS = "what to tell; on creation the ends of jobs and pauses where it is left out"
_Url = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)]
_Events = Annotated[list[WebhookEvent], Field(min_length=1, max_length=len(WebhookEvent))]
_Description = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewWebhookBody(_Request):
    """An endpoint to be made."""

    url: _Url = Field(description=_ABOUT_URL)
    events: _Events | None = Field(None, description=_ABOUT_EVENTS)
    description: _Description = ""


class WebhookChangeBody(_Request):
    """What to change; the rest stays."""

    url: _Url | None = Field(None, description=_ABOUT_URL)
    events: _Events | None = None
    description: _Description | None = None
    enabled: StrictBool | None = Field(None, description="false gives up what is still to be sent")

    def change(self) -> WebhookChange:
        """The same for the use case."""
        events = None if self.events is None else unique(self.events)
        return WebhookChange(url=self.url, events=events, description=self.description, enabled=self.enabled)


class WebhookBody(Body):
    """An endpoint; its secret is not told again."""

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="where the service has disabled it")
    created_at: datetime
    failing_since: datetime | None = Field(description="the first try in vain since the last success")
    former_secret_until: datetime | None = Field(description="until then messages are also signed with the old secret")


class WebhookWithSecret(WebhookBody):
    """An endpoint with its secret, which is told this once."""

    secret: str = Field(description="by which receivers verify what they get; whsec_ and Base64")


class WebhookList(BaseModel):
    """All endpoints of the project, the oldest first."""

    object: Literal["list"] = "list"
    data: list[WebhookBody]


class AttemptBody(Body):
    """One try to deliver."""

    at: datetime
    seconds: float
    status: int | None = Field(description="of the receiver's answer; null where none came")
    error: str | None = Field(description="a name, a colon and a sentence; null of a success")


class DeliveryBody(Body):
    """A message to an endpoint; `id` is its `webhook-id`."""

    id: str
    object: Literal["delivery"] = "delivery"
    webhook_id: str
    type: str
    status: DeliveryStatus
    created_at: datetime
    tries: int = Field(description="since it was made or resent")
    next_try_at: datetime | None
    finished_at: datetime | None
    last_status: Annotated[int | None, BeforeValidator(lambda attempts: attempts[-1].status if attempts else None)] = (
        read_at("attempts", description="of the last answer; null where none came")
    )
    last_error: Annotated[str | None, BeforeValidator(lambda attempts: attempts[-1].error if attempts else None)] = (
        read_at("attempts")
    )
    attempts: list[AttemptBody] = Field(description="the oldest first")


def unique(events: list[WebhookEvent]) -> tuple[str, ...]:
    """The events, each once, as they are stored."""
    return tuple(dict.fromkeys(event.value for event in events))


def documented(body: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """What the OpenAPI document says of a request's body."""
    schema = {"$ref": f"#/components/schemas/{body.__name__}"}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


async def read_body(request: Request, body: type[M]) -> M:
    """The JSON body of a request, read within bounds.

    Raises UnsupportedFormat, PayloadTooLarge, and InvalidInput with a fault for each field.
    """
    content = await read_json(request, _MAX_BYTES)
    try:
        return body.model_validate_json(json.dumps(content))
    except ValidationError as error:
        faults = [
            Fault(_words(found, body), field=".".join(map(str, found["loc"])) or "body") for found in error.errors()
        ]
        raise InvalidInput("the body cannot be used", faults) from error


def _words(found: ErrorDetails, body: type[BaseModel]) -> str:
    if found["type"] == "extra_forbidden":
        return unknown_field(found["loc"], body)
    return sentence(found["type"], found["msg"], found.get("ctx", {}))
