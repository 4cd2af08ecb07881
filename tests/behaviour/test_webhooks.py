"""Webhook endpoints and their log in Postgres."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.access.issuing import create_key
from service.errors import (
    DeliveryNotFound,
    InvalidCursor,
    LeaseLost,
    QuotaExceeded,
    WebhookDisabled,
    WebhookNotFound,
)
from service.identifiers import DeliveryId, WebhookId, new_webhook_id
from service.ports.store import ProjectUnit, Store
from service.records.access import LOCAL_CALLER, Scope
from service.records.webhooks import Delivery, Webhook, WebhookChange
from service.webhooks.signing import new_secret
from tests.support.hooks import (
    DELIVERED,
    FISH,
    GOOD,
    changed,
    claim,
    log_of,
    made,
    record,
    resend,
    send,
    told,
)
from tests.support.stored import LONG, NO_TIME


async def test_an_endpoint_is_stored_as_it_was_created(store: Store) -> None:
    webhook = await made(store, "job.failed", "job.paused")
    assert await told(store, webhook) == webhook
    assert webhook.secret not in repr(webhook)
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert await unit.webhooks.list_all() == [webhook]


async def test_a_disabled_endpoint_is_sent_nothing_until_it_is_enabled(store: Store) -> None:
    webhook = await made(store)
    delivery = await send(store, webhook)
    assert not (await changed(store, webhook, enabled=False)).enabled
    assert await claim(store) == []
    for sending in (send(store, webhook), resend(store, webhook, delivery)):
        with pytest.raises(WebhookDisabled):
            await sending
    enabled = await changed(store, webhook, enabled=True)
    assert (enabled.enabled, enabled.disabled_reason, enabled.failing_since) == (True, None, None)
    assert await claim(store) == []
    await resend(store, webhook, delivery)
    assert [due.lease.delivery_id for due in await claim(store)] == [delivery.id]


async def test_a_rotation_signs_with_both_secrets_and_then_with_the_new_one(store: Store) -> None:
    webhook = await made(store)
    await send(store, webhook)
    for overlap_seconds, both in ((LONG, True), (NO_TIME, False)):
        former, secret = (await told(store, webhook)).secret, new_secret()
        async with store.project_unit(LOCAL_CALLER) as unit:
            rotated = await unit.webhooks.rotate(webhook.id, secret, overlap_seconds=overlap_seconds)
        assert rotated.secret == secret
        [due] = await claim(store, lease_seconds=NO_TIME)
        assert due.secrets == ((secret, former) if both else (secret,))
        assert secret not in repr(due) + repr(rotated)


async def test_a_change_leaves_the_rest_as_it_was(store: Store) -> None:
    webhook = await made(store)
    for change in ({"url": "https://example.org/"}, {"events": ("job.failed",)}, {"description": ""}, {}):
        before = await told(store, webhook)
        after = await changed(store, webhook, **change)
        assert after == await told(store, webhook)
        assert after == Webhook(**{**{name: getattr(before, name) for name in Webhook.__slots__}, **change})


async def test_a_project_has_a_maximum_number_of_endpoints(store: Store) -> None:
    tried = await asyncio.gather(*(made(store, at_most=2) for _ in range(5)), return_exceptions=True)
    refused = [result for result in tried if isinstance(result, QuotaExceeded)]
    assert len(refused) == 3
    assert refused[0].state is not None
    assert (refused[0].state.quota, refused[0].state.limit, refused[0].state.used) == ("webhooks", 2, 2)


async def test_deleting_an_endpoint_deletes_its_log(store: Store) -> None:
    webhook = await made(store)
    await send(store, webhook)
    [due] = await claim(store)
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.webhooks.remove(webhook.id)
    with pytest.raises(LeaseLost):
        await record(store, due, GOOD, DELIVERED)
    with pytest.raises(WebhookNotFound):
        await log_of(store, webhook)


async def test_the_log_is_read_page_by_page_the_newest_first(store: Store) -> None:
    webhook = await made(store)
    sent = [(await send(store, webhook)).id for _ in range(5)]
    found: list[Delivery] = []
    while len(found) < 5:
        last = found[-1] if found else None
        async with store.project_unit(LOCAL_CALLER) as unit:
            before = None if last is None else (last.created_at.isoformat(), last.id)
            found += await unit.webhooks.deliveries(webhook.id, limit=2, before=before)
    assert sorted(delivery.id for delivery in found) == sorted(sent)
    assert found == sorted(found, key=lambda delivery: (delivery.created_at, delivery.id), reverse=True)
    with pytest.raises(InvalidCursor):
        async with store.project_unit(LOCAL_CALLER) as unit:
            await unit.webhooks.deliveries(webhook.id, limit=2, before=("yesterday", "x"))


FOREIGN: dict[str, Callable[[ProjectUnit, WebhookId, DeliveryId], Awaitable[object]]] = {
    "get": lambda unit, webhook, _: unit.webhooks.get(webhook),
    "change": lambda unit, webhook, _: unit.webhooks.change(webhook, WebhookChange(enabled=False)),
    "rotate": lambda unit, webhook, _: unit.webhooks.rotate(webhook, "whsec_x", overlap_seconds=1.0),
    "remove": lambda unit, webhook, _: unit.webhooks.remove(webhook),
    "deliveries": lambda unit, webhook, _: unit.webhooks.deliveries(webhook, limit=9, before=None),
    "resend": lambda unit, webhook, delivery: unit.webhooks.resend(webhook, delivery),
    "send_test": lambda unit, webhook, delivery: unit.webhooks.send_test(webhook, delivery),
}


async def test_another_projects_endpoint_is_as_unknown_as_one_that_never_existed(store: Store) -> None:
    await create_key(store, project=FISH.project, name="a", scopes=[Scope.READ])
    webhook = await made(store)
    delivery = await send(store, webhook)

    async def answer(asked: str, webhook_id: WebhookId) -> str:
        async with store.project_unit(FISH) as unit:
            with pytest.raises(WebhookNotFound) as caught:
                await FOREIGN[asked](unit, webhook_id, delivery.id)
        return str(caught.value).replace(webhook_id, "ID")

    for asked in FOREIGN:
        assert await answer(asked, webhook.id) == await answer(asked, new_webhook_id()), asked
    assert await told(store, webhook) == webhook
    assert await log_of(store, webhook) == [delivery]


async def test_a_delivery_is_found_under_its_own_endpoint_alone(store: Store) -> None:
    webhook, other = await made(store), await made(store)
    delivery = await send(store, webhook)
    with pytest.raises(DeliveryNotFound):
        await resend(store, other, delivery)
