"""Helpers for tests of webhooks in the store: each step of a delivery as one call."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from service.identifiers import ProjectName, new_delivery_id, new_webhook_id
from service.ports.store import Store
from service.records.access import LOCAL_CALLER, Caller
from service.records.webhooks import (
    Attempt,
    Delivery,
    DeliveryStatus,
    DueDelivery,
    NewWebhook,
    Verdict,
    Webhook,
    WebhookChange,
    WebhookEvent,
)
from service.webhooks.signing import new_secret
from tests.support.stored import LONG

FISH = Caller(project=ProjectName("fish"))
EVERYTHING = tuple(event.value for event in WebhookEvent)
URL = "https://example.com/hook"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
GOOD = Attempt(at=NOW, seconds=0.25, status=200, error=None)
BAD = Attempt(at=NOW, seconds=1.5, status=500, error="refused: the receiver has answered 500")
DELIVERED = Verdict(status=DeliveryStatus.DELIVERED)
AT_ONCE = Verdict(status=DeliveryStatus.PENDING, wait_seconds=-0.001)
LATER = Verdict(status=DeliveryStatus.PENDING, wait_seconds=3600.0)
FAILED = Verdict(status=DeliveryStatus.FAILED)


async def made(store: Store, *events: str, caller: Caller = LOCAL_CALLER, at_most: int = 20) -> Webhook:
    new = NewWebhook(id=new_webhook_id(), url=URL, events=events or EVERYTHING, description="a", secret=new_secret())
    async with store.project_unit(caller) as unit:
        return await unit.webhooks.add(new, at_most=at_most)


async def told(store: Store, webhook: Webhook, caller: Caller = LOCAL_CALLER) -> Webhook:
    async with store.project_unit(caller) as unit:
        return await unit.webhooks.get(webhook.id)


async def changed(store: Store, webhook: Webhook, **change: Any) -> Webhook:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.webhooks.change(webhook.id, WebhookChange(**change))


async def log_of(store: Store, webhook: Webhook, caller: Caller = LOCAL_CALLER) -> list[Delivery]:
    async with store.project_unit(caller) as unit:
        return await unit.webhooks.deliveries(webhook.id, limit=100, before=None)


async def claim(
    store: Store, *, limit: int = 100, per_webhook: int = 100, lease_seconds: float = LONG
) -> Sequence[DueDelivery]:
    async with store.worker_unit() as unit:
        return await unit.deliveries.claim(limit=limit, per_webhook=per_webhook, lease_seconds=lease_seconds)


async def record(store: Store, due: DueDelivery, attempt: Attempt, verdict: Verdict) -> None:
    async with store.worker_unit() as unit:
        await unit.deliveries.record(due.lease, attempt, verdict)


async def send(store: Store, webhook: Webhook) -> Delivery:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.webhooks.send_test(webhook.id, new_delivery_id())


async def resend(store: Store, webhook: Webhook, delivery: Delivery) -> Delivery:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.webhooks.resend(webhook.id, delivery.id)


def body_of(due: DueDelivery) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(due.body)
    return body
