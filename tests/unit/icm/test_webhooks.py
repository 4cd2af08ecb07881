"""Webhooks by the command line and the clients, over the real API."""

import json
from typing import Any

import httpx
import pytest

from icm import AsyncClient
from icm.commands import webhooks
from service.records.webhooks import DeliveryStatus, Verdict
from tests.support.commands import Command, command_on
from tests.support.hooks import BAD, claim, record
from tests.support.running.harness import Service
from tests.support.stores import ScratchStore

ADDRESS = "https://example.com/hook"


@pytest.fixture
async def service() -> Service:
    return Service(ScratchStore())


@pytest.fixture
async def command(service: Service, monkeypatch: pytest.MonkeyPatch) -> Command:
    return command_on(service, monkeypatch, webhooks)


async def documents(command: Command, *arguments: str) -> list[dict[str, Any]]:
    done = await command("webhooks", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_a_webhook_is_made_changed_and_removed(command: Command) -> None:
    made = await command("webhooks", "create", ADDRESS, "--event", "job.failed")
    secret = made.stdout.strip()
    assert secret.startswith("whsec_")
    assert secret not in made.stderr
    [webhook] = await documents(command, "list")
    assert (webhook["url"], webhook["events"]) == (ADDRESS, ["job.failed"])
    assert ADDRESS in (await command("webhooks", "show", webhook["id"])).stdout
    assert ADDRESS in (await command("webhooks", "list")).stdout
    [changed] = await documents(command, "update", webhook["id"], "--disable", "--description", "b")
    assert (changed["enabled"], changed["description"], changed["events"]) == (False, "b", ["job.failed"])
    assert (await command("webhooks", "rotate", webhook["id"])).stdout.strip() not in {"", secret}
    assert (await command("webhooks", "delete", webhook["id"])).exit_code == 0
    assert await documents(command, "list") == []


async def test_deliveries_are_listed_and_resent(command: Command, service: Service) -> None:
    [webhook] = await documents(command, "create", ADDRESS)
    [sent] = await documents(command, "test", webhook["id"])
    [due] = await claim(service.store)
    await record(service.store, due, BAD, Verdict(status=DeliveryStatus.FAILED))
    [listed] = await documents(command, "deliveries", webhook["id"])
    assert (listed["id"], listed["last_status"]) == (sent["id"], 500)
    assert "refused: the receiver" in (await command("webhooks", "deliveries", webhook["id"])).stdout
    assert "failing since" in (await command("webhooks", "list")).stdout
    assert (await command("webhooks", "resend", webhook["id"], sent["id"])).stdout.split() == [sent["id"], "pending"]


async def test_refusals_are_exit_codes(command: Command) -> None:
    refused = await command("webhooks", "create", "https://127.0.0.1/")
    assert (refused.exit_code, "field url" in refused.stderr) == (3, True)
    assert (await command("webhooks", "show", "wh_1")).exit_code == 5


async def test_the_clients_have_the_same_calls(service: Service) -> None:
    transport = httpx.ASGITransport(service.app)
    async with AsyncClient("http://localhost", transport=transport) as client:
        webhook = await client.webhooks.create(ADDRESS, description="a")
        assert [found["id"] for found in await client.webhooks.list()] == [webhook["id"]]
        rotated = await client.webhooks.rotate(webhook["id"])
        assert rotated["secret"] != webhook["secret"]
        sent = await client.webhooks.test(webhook["id"])
        assert [found["id"] async for found in client.webhooks.deliveries(webhook["id"])] == [sent["id"]]
        assert (await client.webhooks.resend(webhook["id"], sent["id"]))["id"] == sent["id"]
        assert not (await client.webhooks.update(webhook["id"], enabled=False))["enabled"]
        assert (await client.webhooks.get(webhook["id"]))["description"] == "a"
        await client.webhooks.delete(webhook["id"])
        assert await client.webhooks.list() == []
