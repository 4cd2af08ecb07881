"""Routes of webhooks: create, read, change, delete, rotate, test; the log of messages, and resending."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response, status

from api.dependencies import Cursor, Limit, TheApplication, TheSigner, TheStore
from api.openapi.documentation import documented, problems
from api.schemas import Page
from api.webhooks.bodies import (
    DeliveryBody,
    NewWebhookBody,
    WebhookBody,
    WebhookChangeBody,
    WebhookList,
    WebhookWithSecret,
    read_body,
    unique,
)
from service.errors import DeliveryNotFound, WebhookNotFound
from service.identifiers import DeliveryId, WebhookId
from service.webhooks import endpoints, log
from service.webhooks.addresses import AddressPolicy

router = APIRouter(tags=["webhooks"])

_WEBHOOK_ID = re.compile(r"wh_[0-9a-f]{32}")
_DELIVERY_ID = re.compile(r"msg_[0-9a-f]{32}")
_NO_STORE = "no-store"  # cache header of answers with a secret

_CREATE = documented(NewWebhookBody, {"url": "https://example.com/icm", "events": ["job.succeeded", "job.failed"]})
_CHANGE = documented(WebhookChangeBody, {"description": "the archive", "enabled": True})


async def _webhook_id(
    webhook_id: Annotated[str, Path(description="the webhook's id", examples=["wh_" + "0" * 32])],
) -> WebhookId:
    """Refuse malformed ids before they reach the database."""
    if not _WEBHOOK_ID.fullmatch(webhook_id):
        raise WebhookNotFound(f"there is no webhook {webhook_id!r}")
    return WebhookId(webhook_id)


async def _delivery_id(
    delivery_id: Annotated[str, Path(description="the delivery's id", examples=["msg_" + "0" * 32])],
) -> DeliveryId:
    if not _DELIVERY_ID.fullmatch(delivery_id):
        raise DeliveryNotFound(f"the webhook has no delivery {delivery_id!r}")
    return DeliveryId(delivery_id)


async def _policy(application: TheApplication) -> AddressPolicy:
    """The policy of webhook addresses. Workers apply the same settings again when they send."""
    settings = application.settings.webhooks
    return AddressPolicy(allowed=settings.networks, allow_http=settings.allow_http)


TheWebhookId = Annotated[WebhookId, Depends(_webhook_id)]
TheDeliveryId = Annotated[DeliveryId, Depends(_delivery_id)]
ThePolicy = Annotated[AddressPolicy, Depends(_policy)]


@router.post(
    "/v1/webhooks",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=_CREATE,
    responses=problems(403, 413, 415, 503),
)
async def create_webhook(
    request: Request, response: Response, application: TheApplication, policy: ThePolicy, store: TheStore
) -> WebhookWithSecret:
    """Create a webhook, which reports events of the project's jobs to an address. Only this answer shows the secret."""
    body = await read_body(request, NewWebhookBody)
    webhook = await endpoints.create_webhook(
        store,
        policy,
        url=body.url,
        events=unique(body.events or []),
        description=body.description,
        at_most=application.settings.webhooks.max_endpoints,
    )
    response.headers.update({"Location": f"/v1/webhooks/{webhook.id}", "Cache-Control": _NO_STORE})
    return WebhookWithSecret.model_validate(webhook)


@router.get("/v1/webhooks", responses=problems(503))
async def get_webhooks(store: TheStore) -> WebhookList:
    """List the project's webhooks, oldest first."""
    return WebhookList(data=[WebhookBody.model_validate(webhook) for webhook in await endpoints.list_webhooks(store)])


@router.get("/v1/webhooks/{webhook_id}", responses=problems(404, 503))
async def get_webhook(webhook_id: TheWebhookId, store: TheStore) -> WebhookBody:
    """Read a webhook."""
    return WebhookBody.model_validate(await endpoints.read_webhook(store, webhook_id))


@router.patch("/v1/webhooks/{webhook_id}", openapi_extra=_CHANGE, responses=problems(404, 413, 415, 503))
async def change_webhook(request: Request, webhook_id: TheWebhookId, policy: ThePolicy, store: TheStore) -> WebhookBody:
    """Change a webhook's address, events or description, or enable or disable it."""
    body = await read_body(request, WebhookChangeBody)
    return WebhookBody.model_validate(await endpoints.change_webhook(store, policy, webhook_id, body.change()))


@router.delete("/v1/webhooks/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 503))
async def delete_webhook(webhook_id: TheWebhookId, store: TheStore) -> None:
    """Delete a webhook with its log and its pending messages."""
    await endpoints.delete_webhook(store, webhook_id)


@router.post("/v1/webhooks/{webhook_id}/rotate", responses=problems(404, 503))
async def rotate_webhook(response: Response, webhook_id: TheWebhookId, store: TheStore) -> WebhookWithSecret:
    """Create a new secret, which only this answer shows; for 24 hours the old one signs as well."""
    response.headers["Cache-Control"] = _NO_STORE
    return WebhookWithSecret.model_validate(await endpoints.rotate_secret(store, webhook_id))


@router.post("/v1/webhooks/{webhook_id}/test", status_code=status.HTTP_202_ACCEPTED, responses=problems(404, 409, 503))
async def test_webhook(webhook_id: TheWebhookId, store: TheStore) -> DeliveryBody:
    """Send a `webhook.test` message, whatever the events of the webhook."""
    return DeliveryBody.model_validate(await log.send_test(store, webhook_id))


@router.get("/v1/webhooks/{webhook_id}/deliveries", responses=problems(400, 404, 503))
async def get_deliveries(
    webhook_id: TheWebhookId, store: TheStore, signer: TheSigner, limit: Limit = 20, cursor: Cursor = None
) -> Page[DeliveryBody]:
    """List the webhook's messages, sent and pending, newest first."""
    scope = f"deliveries {webhook_id}"
    before = signer.read(scope, cursor)
    found, has_more = await log.list_deliveries(store, webhook_id, limit=limit, before=before)
    last = found[-1] if has_more else None
    return Page(
        data=[DeliveryBody.model_validate(delivery) for delivery in found],
        has_more=has_more,
        next_cursor=last and signer.sign(scope, (last.created_at.isoformat(), last.id)),
    )


@router.post(
    "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/resend",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(404, 409, 503),
)
async def resend_delivery(webhook_id: TheWebhookId, delivery_id: TheDeliveryId, store: TheStore) -> DeliveryBody:
    """Send a message again under its old `webhook-id`, with as many attempts as a new one."""
    return DeliveryBody.model_validate(await log.resend(store, webhook_id, delivery_id))
