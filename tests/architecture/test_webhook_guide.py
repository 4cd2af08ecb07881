"""The receiver that the guide shows verifies what the service signs, and takes nothing else."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.records.webhooks import WebhookEvent
from service.webhooks.endpoints import DEFAULT_EVENTS
from service.webhooks.schedule import MAX_TRIES
from service.webhooks.signing import new_secret, signed_headers

BODY = b'{"type":"job.failed","data":{"job":"job_1","status":"failed"}}'


@pytest.fixture
def guide(root: Path) -> str:
    return (root / "docs/webhooks.md").read_text("utf-8")


async def test_the_example_receiver_accepts_each_message_once_and_no_forgery(
    guide: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [shown] = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    secret = new_secret()
    monkeypatch.setenv("ICM_WEBHOOK_SECRET", secret)
    receiver: dict[str, Any] = {}
    exec(shown, receiver)  # noqa: S102 - what people will copy
    headers = signed_headers("msg_1", BODY, [secret], datetime.now(UTC))
    forged = signed_headers("msg_2", BODY, [new_secret()], datetime.now(UTC))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(receiver["app"]), base_url="http://receiver") as client:
        answers = [await client.post("/icm", content=BODY, headers=sent) for sent in (headers, headers, forged)]
    assert [answer.status_code for answer in answers] == [204, 204, 401]
    assert capsys.readouterr().out == "job.failed job_1 failed\n"


def test_the_guide_names_every_event_every_failure_and_the_number_of_tries(guide: str, root: Path) -> None:
    assert [event for event in WebhookEvent if f"`{event}`" not in guide] == []
    told = guide.partition("Without `events`")[2].partition(";")[0]
    assert {event for event in WebhookEvent if f"`{event}`" in told} == set(DEFAULT_EVENTS)
    code = "".join(
        (root / name).read_text("utf-8") for name in ("service/webhooks/http/sender.py", "service/webhooks/dispatch.py")
    )
    names = {*re.findall(r'NotDelivered\(\s*"(\w+)"', code), *re.findall(r'"(\w+): the receiver', code)}
    assert len(names) >= 7
    assert [name for name in names if f"`{name}`" not in guide] == []
    assert MAX_TRIES == 10
