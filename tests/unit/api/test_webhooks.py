"""Webhooks as their owners handle them."""

from typing import Any

import pytest

from service.records.webhooks import Attempt, DeliveryStatus, Verdict, WebhookEvent
from service.settings import Settings, WebhookSettings
from tests.support.hooks import BAD, LATER, claim, record
from tests.support.running.harness import Service
from tests.support.stores import ScratchStore

WEBHOOKS = "/v1/webhooks"
URL = "https://example.com/hook"
GONE = Verdict(status=DeliveryStatus.FAILED, disable="gone: it says so")


async def made(service: Service, **body: Any) -> dict[str, Any]:
    answer = await service.client.post(WEBHOOKS, json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


async def got(service: Service, path: str, **parameters: Any) -> dict[str, Any]:
    answer = await service.client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_only_the_answer_that_creates_a_webhook_has_its_secret(service: Service) -> None:
    answer = await service.client.post(WEBHOOKS, json={"url": URL, "description": "archive"})
    webhook = answer.json()
    path = f"{WEBHOOKS}/{webhook['id']}"
    assert answer.headers["Location"] == path
    assert answer.headers["Cache-Control"] == "no-store"
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    assert await got(service, path) == webhook
    assert (await got(service, WEBHOOKS))["data"] == [webhook]
    for told in (await service.client.get(path), await service.client.get(WEBHOOKS)):
        assert secret not in told.text
    assert (webhook["enabled"], webhook["description"], webhook["disabled_reason"]) == (True, "archive", None)


async def test_a_webhook_reports_ends_and_pauses_by_default(service: Service) -> None:
    assert (await made(service))["events"] == ["job.succeeded", "job.failed", "job.cancelled", "job.paused"]
    assert (await made(service, events=["job.created", "job.created"]))["events"] == ["job.created"]
    everything = [event.value for event in WebhookEvent]
    assert (await made(service, events=everything))["events"] == everything


BAD_BODIES: list[tuple[Any, str]] = [
    ({}, "url"),
    ({"url": 1}, "url"),
    ({"url": ""}, "url"),
    ({"url": None}, "url"),
    ({"url": URL, "events": []}, "events"),
    ({"url": URL, "events": ["job.progress"]}, "events.0"),
    ({"url": URL, "events": ["job.unknown"]}, "events.0"),
    ({"url": URL, "events": "job.failed"}, "events"),
    ({"url": URL, "description": "x" * 201}, "description"),
    ({"url": URL, "description": "a\nb"}, "description"),
    ({"url": URL, "secret": "whsec_mine"}, "secret"),
    ([], "body"),
    ("text", "body"),
]


async def test_faults_of_a_request_are_reported_by_field(service: Service) -> None:
    for body, field in BAD_BODIES:
        answer = await service.client.post(WEBHOOKS, json=body)
        assert answer.status_code == 422, body
        assert [fault["field"] for fault in answer.json()["errors"]] == [field], body
    assert (await got(service, WEBHOOKS))["data"] == []


async def test_json_that_cannot_be_stored_is_refused(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    for raw in (b"", b"{", b'{"url": "\\ud800"}', b'{"url": "\\u0000"}', b"\xff", b'{"url":1,"url":2}'):
        assert (await service.client.post(WEBHOOKS, content=raw, headers=headers)).status_code == 422, raw


async def test_a_body_of_another_kind_or_size_is_not_read(service: Service) -> None:
    assert (await service.client.post(WEBHOOKS, content=b"url=x")).status_code == 415
    assert (await service.client.post(WEBHOOKS, json={"url": "x" * 30_000})).status_code == 413


# tests/unit/webhooks/test_addresses.py tries every kind of forbidden address.
async def test_forbidden_addresses_are_refused_with_their_field_on_creation_and_change(service: Service) -> None:
    path = f"{WEBHOOKS}/{(await made(service))['id']}"
    for url in ("https://127.0.0.1/", "http://example.com/", "https://example.com./"):
        for answer in (
            await service.client.post(WEBHOOKS, json={"url": url}),
            await service.client.patch(path, json={"url": url}),
        ):
            assert answer.status_code == 422, url
            assert [fault["field"] for fault in answer.json()["errors"]] == ["url"], url
    assert [webhook["url"] for webhook in (await got(service, WEBHOOKS))["data"]] == [URL]


async def test_the_operator_allows_more_and_limits_their_number() -> None:
    allowed = WebhookSettings(allowed_networks="10.0.0.0/8, fd00::/8", allow_http=True, max_endpoints=2)
    service = Service(ScratchStore(), settings=Settings(webhooks=allowed))
    await made(service, url="http://10.1.2.3:8080/")
    await made(service, url="https://[fd00::1]/")
    answer = await service.client.post(WEBHOOKS, json={"url": URL})
    assert answer.status_code == 403
    assert answer.json()["quota"] == {"quota": "webhooks", "limit": 2, "used": 2}


@pytest.mark.parametrize("text", ["10.0.0.1/8", "everything", "10.0.0.0/33"])
def test_a_setting_that_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed_networks"):
        WebhookSettings(allowed_networks=text)


async def test_a_webhook_is_changed_part_by_part(service: Service) -> None:
    webhook = await made(service)
    path, before = f"{WEBHOOKS}/{webhook['id']}", {**webhook}
    before.pop("secret")
    for change in (
        {"url": "https://example.org/"},
        {"events": ["job.failed"]},
        {"description": "b"},
        {"enabled": False},
        {"enabled": True},
        {},
    ):
        answer = await service.client.patch(path, json=change)
        assert answer.status_code == 200
        before |= change
        assert answer.json() == before == await got(service, path)
    for wrong in ({"created_at": "2026-01-01"}, {"enabled": 0}, {"enabled": "false"}):
        assert (await service.client.patch(path, json=wrong)).status_code == 422


async def test_a_rotation_shows_the_new_secret_once_and_until_when_the_old_one_signs(service: Service) -> None:
    webhook = await made(service)
    path = f"{WEBHOOKS}/{webhook['id']}"
    answer = await service.client.post(f"{path}/rotate")
    rotated = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert rotated.pop("secret") not in {webhook["secret"], None}
    assert rotated["former_secret_until"] is not None
    assert await got(service, path) == rotated


async def test_a_deleted_webhook_is_not_found(service: Service) -> None:
    path = f"{WEBHOOKS}/{(await made(service))['id']}"
    assert (await service.client.delete(path)).status_code == 204
    assert (await service.client.get(path)).status_code == 404
    assert (await service.client.delete(path)).status_code == 404


async def test_the_log_has_each_attempt(service: Service) -> None:
    webhook = await made(service)
    path = f"{WEBHOOKS}/{webhook['id']}"
    answer = await service.client.post(f"{path}/test")
    assert answer.status_code == 202
    sent = answer.json()
    assert (sent["type"], sent["status"], sent["tries"]) == ("webhook.test", "pending", 0)
    [due] = await claim(service.store)
    await record(service.store, due, BAD, LATER)
    [told] = (await got(service, f"{path}/deliveries"))["data"]
    assert told["id"] == sent["id"] == due.lease.delivery_id
    assert (told["status"], told["tries"], told["last_status"]) == ("pending", 1, 500)
    assert told["last_error"] == BAD.error
    assert told["next_try_at"] > told["created_at"]
    assert [attempt["seconds"] for attempt in told["attempts"]] == [1.5]
    assert (await got(service, path))["failing_since"] is not None


async def test_a_message_is_resent_under_its_id(service: Service) -> None:
    path = f"{WEBHOOKS}/{(await made(service))['id']}"
    sent = (await service.client.post(f"{path}/test")).json()
    [due] = await claim(service.store)
    good = Attempt(at=BAD.at, seconds=0.1, status=204, error=None)
    await record(service.store, due, good, Verdict(status=DeliveryStatus.DELIVERED))
    assert (await got(service, f"{path}/deliveries"))["data"][0]["status"] == "delivered"
    answer = await service.client.post(f"{path}/deliveries/{sent['id']}/resend")
    assert (answer.status_code, answer.json()["id"], answer.json()["status"]) == (202, sent["id"], "pending")
    assert [again.lease.delivery_id for again in await claim(service.store)] == [sent["id"]]


async def test_a_disabled_webhook_says_why_and_is_sent_nothing(service: Service) -> None:
    path = f"{WEBHOOKS}/{(await made(service))['id']}"
    sent = (await service.client.post(f"{path}/test")).json()
    [due] = await claim(service.store)
    await record(service.store, due, BAD, GONE)
    told = await got(service, path)
    assert (told["enabled"], told["disabled_reason"]) == (False, "gone: it says so")
    for call in ("test", f"deliveries/{sent['id']}/resend"):
        answer = await service.client.post(f"{path}/{call}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:icm:problem:webhook-disabled")


async def test_the_log_is_paged_by_its_own_cursors_alone(service: Service) -> None:
    first, other = [f"{WEBHOOKS}/{(await made(service))['id']}" for _ in range(2)]
    for path in (first, first, first, other, other):
        await service.client.post(f"{path}/test")
    query: dict[str, Any] = {"limit": 2}
    page = await got(service, f"{first}/deliveries", **query)
    assert (len(page["data"]), page["has_more"]) == (2, True)
    last = await got(service, f"{first}/deliveries", **query, cursor=page["next_cursor"])
    assert (len(last["data"]), last["has_more"], last["next_cursor"]) == (1, False, None)
    assert len({item["id"] for item in (*page["data"], *last["data"])}) == 3
    for cursor in (page["next_cursor"], "x"):
        answer = await service.client.get(f"{other}/deliveries", params={"cursor": cursor})
        assert answer.status_code == 400


async def test_malformed_ids_are_not_found(service: Service) -> None:
    for path in ("%00/test", "wh_1/test", f"wh_{'0' * 32}/deliveries/x/resend"):
        answer = await service.client.post(f"{WEBHOOKS}/{path}")
        assert answer.status_code == 404, path
        assert answer.json()["type"] in {"urn:icm:problem:webhook-not-found", "urn:icm:problem:delivery-not-found"}


async def test_changes_of_webhooks_are_in_the_audit_log(service: Service) -> None:
    webhook = await made(service)
    path = f"{WEBHOOKS}/{webhook['id']}"
    await service.client.patch(path, json={"description": "b"})
    await service.client.post(f"{path}/rotate")
    sent = (await service.client.post(f"{path}/test")).json()
    await service.client.post(f"{path}/deliveries/{sent['id']}/resend")
    await service.client.delete(path)
    await service.client.patch(path, json={"description": "b"})  # refused, so no event
    async with service.store.access_unit() as unit:
        entries = await unit.audit.latest(limit=20)
    assert [(entry.action, entry.target) for entry in entries][::-1] == [
        ("webhook.created", webhook["id"]),
        ("webhook.changed", webhook["id"]),
        ("webhook.rotated", webhook["id"]),
        ("webhook.tested", webhook["id"]),
        ("webhook.resent", sent["id"]),
        ("webhook.deleted", webhook["id"]),
    ]
