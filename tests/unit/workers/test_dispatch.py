"""Messages from the outbox to real receivers on loopback, also if a worker dies."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from service.errors import StorageUnavailable
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.records.webhooks import Answer, Delivery, DeliveryStatus, Webhook
from service.settings import WebhookSettings
from service.storage.store import PostgresStore
from service.webhooks.addresses import AddressPolicy
from service.webhooks.http.sender import HttpSender
from service.webhooks.schedule import MAX_TRIES, WAITS_SECONDS
from service.webhooks.signing import new_secret
from tests.support.hooks import changed, log_of, made, send, told
from tests.support.raw_server import HANG, RawServer, reply, serving
from tests.support.stored import queued
from tests.support.stores import Clock, ScratchStore
from workers.dispatch import LEASE_MARGIN_SECONDS, PER_WEBHOOK, WebhookDispatch

POLICY = AddressPolicy(allowed=(ipaddress.ip_network("127.0.0.0/8"),), allow_http=True)
POLL_SECONDS = 0.01
UNAVAILABLE = reply("503 Service Unavailable")


class Receivers:
    """Servers on loopback, and endpoints that lead to them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def __call__(self, store: Store, *plan: bytes) -> tuple[RawServer, Webhook]:
        """An endpoint whose receiver gives these answers, and then `{}`."""
        server = RawServer(plan=list(plan))
        url = await self._stack.enter_async_context(serving(server))
        webhook = await changed(store, await made(store), url=f"{url}/hook")
        return server, webhook


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with AsyncExitStack() as stack:
        yield Receivers(stack)


def dispatcher(store: Store, *, seconds: float = 20.0, **changes: Any) -> WebhookDispatch:
    settings = WebhookSettings(timeout_seconds=seconds, **changes)
    return WebhookDispatch(store, HttpSender(POLICY, timeout_seconds=seconds), settings, poll_seconds=POLL_SECONDS)


def headers_of(server: RawServer) -> list[dict[str, str]]:
    """The headers of every request, by lower-case name."""
    heads = [head.strip().split("\r\n")[1:] for head, _ in server.requests]
    return [{name.lower(): value for name, value in (line.split(": ", 1) for line in head)} for head in heads]


async def delivery_of(store: Store, webhook: Webhook) -> Delivery:
    [delivery] = await log_of(store, webhook)
    return delivery


async def test_a_message_arrives_signed_and_is_recorded(store: Store, receivers: Receivers) -> None:
    server, webhook = await receivers(store)
    job_id = await queued(store)
    assert await dispatcher(store).run_once() == POLL_SECONDS
    delivery = await delivery_of(store, webhook)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert [(attempt.status, attempt.error) for attempt in delivery.attempts] == [(200, None)]
    [headers], [(_, body)] = headers_of(server), server.requests
    assert headers["webhook-id"] == delivery.id
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("icm-service")
    assert Verifier(webhook.secret).verify(body, headers)["data"]["job"] == job_id


async def test_after_a_rotation_receivers_verify_with_either_secret(store: Store, receivers: Receivers) -> None:
    server, webhook = await receivers(store)
    async with store.project_unit(LOCAL_CALLER) as unit:
        rotated = await unit.webhooks.rotate(webhook.id, new_secret(), overlap_seconds=60.0)
    await send(store, webhook)
    await dispatcher(store).run_once()
    [headers], [(_, body)] = headers_of(server), server.requests
    for secret in (webhook.secret, rotated.secret):
        Verifier(secret).verify(body, headers, json_parse=False)


async def test_a_failed_message_is_sent_again_after_its_wait_under_the_same_id(receivers: Receivers) -> None:
    clock = Clock()
    store = ScratchStore(now=clock.now)
    server, webhook = await receivers(store, UNAVAILABLE, reply("301 Moved", headers={"Location": "/"}))
    await send(store, webhook)
    for wait in (*WAITS_SECONDS[:2], 0.0):
        await dispatcher(store).run_once()
        seen = len(server.requests)
        await dispatcher(store).run_once()
        assert len(server.requests) == seen  # not before its time
        clock.advance(wait * 1.25)
    delivery = await delivery_of(store, webhook)
    assert [attempt.status for attempt in delivery.attempts] == [503, 301, 200]
    assert delivery.status is DeliveryStatus.DELIVERED
    assert {headers["webhook-id"] for headers in headers_of(server)} == {delivery.id}
    assert len({body for _, body in server.requests}) == 1


async def test_a_message_fails_after_ten_attempts(receivers: Receivers) -> None:
    clock = Clock()
    store = ScratchStore(now=clock.now)
    server, webhook = await receivers(store, *[UNAVAILABLE] * 20)
    await send(store, webhook)
    for wait in (*WAITS_SECONDS, *WAITS_SECONDS[:2]):
        await dispatcher(store).run_once()
        clock.advance(wait * 1.25)
    delivery = await delivery_of(store, webhook)
    assert (delivery.status, delivery.tries) == (DeliveryStatus.FAILED, MAX_TRIES)
    assert len(server.requests) == len(delivery.attempts) == MAX_TRIES


async def test_a_receiver_that_answers_410_gets_no_further_message(store: Store, receivers: Receivers) -> None:
    server, webhook = await receivers(store, reply("410 Gone"))
    await send(store, webhook)
    await dispatcher(store).run_once()
    disabled = await told(store, webhook)
    assert (disabled.enabled, (disabled.disabled_reason or "").partition(":")[0]) == (False, "gone")
    await queued(store)
    await dispatcher(store).run_once()
    assert len(server.requests) == 1


async def test_a_refused_address_is_a_failure_with_a_name_and_tried_again(store: Store) -> None:
    webhook = await made(store)
    webhook = await changed(store, webhook, url="https://10.0.0.1/")
    await send(store, webhook)
    await dispatcher(store).run_once()
    delivery = await delivery_of(store, webhook)
    assert delivery.status is DeliveryStatus.PENDING
    assert (delivery.attempts[0].error or "").startswith("address_refused: ")


async def test_a_receiver_that_never_answers_delays_no_other(store: Store, receivers: Receivers) -> None:
    slow, hanging = await receivers(store, *[HANG] * 50)
    quick, webhook = await receivers(store)
    for target in [*[hanging] * 10, webhook]:
        await send(store, target)
    run = asyncio.create_task(dispatcher(store).run_once())
    for _ in range(2):
        await quick.asked.wait()
        quick.asked.clear()
        await send(store, webhook)
    assert len(slow.requests) <= PER_WEBHOOK
    assert not run.done()
    run.cancel()
    await asyncio.wait({run})
    await slow.left.wait()


async def test_two_processes_at_once_send_each_message_once(
    postgres_store: PostgresStore, receivers: Receivers
) -> None:
    server, webhook = await receivers(postgres_store)
    sent = {(await send(postgres_store, webhook)).id for _ in range(30)}
    await asyncio.gather(*(dispatcher(postgres_store, concurrency=4).run_once() for _ in range(4)))
    arrived = [headers["webhook-id"] for headers in headers_of(server)]
    assert sorted(arrived) == sorted(sent)
    assert {delivery.status for delivery in await log_of(postgres_store, webhook)} == {DeliveryStatus.DELIVERED}


class LosableStore(ScratchStore):
    """A store whose workers may lose the database."""

    is_lost = False

    def worker_unit(self) -> Any:
        if self.is_lost:
            raise StorageUnavailable("Postgres cannot be reached")
        return super().worker_unit()


class LosingSender(HttpSender):
    """Loses the database as soon as the receiver has answered, as if the worker died then."""

    def __init__(self, store: LosableStore) -> None:
        super().__init__(POLICY, timeout_seconds=20.0)
        self._store = store

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        answer = await super().post(url, body, headers)
        self._store.is_lost = True
        return answer


async def test_an_attempt_whose_worker_died_before_recording_it_is_repeated_after_its_lease(
    receivers: Receivers,
) -> None:
    clock = Clock()
    store = LosableStore(now=clock.now)
    server, webhook = await receivers(store)
    sent = await send(store, webhook)
    with pytest.raises(StorageUnavailable):  # of the next query; the loop over periodic tasks tries again
        await WebhookDispatch(store, LosingSender(store), WebhookSettings(), poll_seconds=POLL_SECONDS).run_once()
    delivery = await delivery_of(store, webhook)
    assert (delivery.status, delivery.tries, delivery.attempts) == (DeliveryStatus.PENDING, 1, ())
    store.is_lost = False
    await dispatcher(store).run_once()
    assert len(server.requests) == 1
    clock.advance(WebhookSettings().timeout_seconds + LEASE_MARGIN_SECONDS + 1.0)
    await dispatcher(store).run_once()
    assert [headers["webhook-id"] for headers in headers_of(server)] == [sent.id, sent.id]
    assert server.requests[0][1] == server.requests[1][1]
    assert (await delivery_of(store, webhook)).status is DeliveryStatus.DELIVERED
