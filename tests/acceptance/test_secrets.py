"""Keys are sent in every place of a request, right and wrong; no answer or log contains their secret."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.access.issuing import create_key, revoke_key
from service.access.keys import Key, key_of, new_key
from service.records.access import Scope
from service.storage.engine import driver_address
from service.storage.store import PostgresStore
from tests.acceptance.api_process import api_process
from tests.support.running.harness import CONFIG, jsonl, pairs

NOWHERE = "postgresql+asyncpg://icm:hunter2hunter2@127.0.0.1:1/icm"
DEMANDED = {"ICM_ACCESS__REQUIRED": "true", "ICM_LOG_LEVEL": "DEBUG", "ICM_LOG_FORMAT": "json"}
HEADERS = ("X-Request-ID", "Accept", "If-None-Match", "Last-Event-ID", "Idempotency-Key", "Content-Type", "Cookie")
WEBHOOKS = "/v1/webhooks"
Request = dict[str, Any]


@pytest.fixture
async def keys(postgres_store: PostgresStore) -> dict[str, Key]:
    """A key of every kind."""
    made = {}
    for name, lifetime in (("good", None), ("weak", None), ("revoked", None), ("expired", timedelta(0))):
        scopes = [Scope.READ] if name == "weak" else [Scope.ADMIN]
        key, made[name] = await create_key(postgres_store, project="birds", name=name, scopes=scopes, lifetime=lifetime)
        made[f"forged {name}"] = key_of(key.id, bytes(range(32)))
        if name == "revoked":
            await revoke_key(postgres_store, key.id)
    return {**made, "unknown": new_key()}


async def test_the_secret_of_a_key_is_in_no_answer_log_or_table(
    database_url: str, keys: dict[str, Key], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with api_process(database_url, log=log, settings=DEMANDED) as api:
        good = keys["good"]
        sent = [request for key in keys.values() for request in placed(key)]
        answers = [await _sent(api.client, request) for request in (*sent, *misplaced(good, good))]
    statuses = {answer.status_code for answer in answers}
    assert statuses >= {200, 202, 400, 401, 403, 404, 405, 413, 415, 422}
    assert 500 not in statuses
    told = [str(answer.headers.raw) for answer in answers]
    told += [answer.text for answer in answers if not answer.is_success]  # a job tells the configuration it was given
    logged = log.read_text()
    assert logged.count("\n") > len(answers)
    for text in (*told, logged, await everything_stored(database_url)):
        for name, key in keys.items():
            assert key.text.rpartition("_")[2][:16] not in text.lower(), name


async def test_the_secret_of_a_webhook_is_in_the_answer_that_makes_it_and_nowhere_else(
    database_url: str, keys: dict[str, Key], tmp_path: Path
) -> None:
    log, good = tmp_path / "log", keys["good"]
    async with api_process(database_url, log=log, settings=DEMANDED) as api:
        api.client.headers["Authorization"] = f"Bearer {good.text}"
        made = (await api.client.post(WEBHOOKS, json={"url": "https://example.com/"})).json()
        path = f"{WEBHOOKS}/{made['id']}"
        rotated = (await api.client.post(f"{path}/rotate")).json()
        sent = (await api.client.post(f"{path}/test")).json()
        secrets = [made["secret"], rotated["secret"]]
        asked: list[Request] = [{"url": url} for url in (WEBHOOKS, path, f"{path}/deliveries")]
        asked += [{"method": "PATCH", "url": path, "json": {"description": "b"}}]
        asked += [{"method": "POST", "url": f"{path}/deliveries/{sent['id']}/resend"}]
        answers = [await _sent(api.client, request) for request in asked]
        assert all(answer.is_success for answer in answers)
        for secret in secrets:
            requests = (*misplaced(Key(good.id, secret), good), *about_webhooks(secret, path))
            wrong = [await _sent(api.client, request) for request in requests]
            answers += [answer for answer in wrong if not answer.is_success]
    assert {answer.status_code for answer in answers} >= {200, 202, 400, 401, 404, 415, 422}
    told = [str(answer.headers.raw) + answer.text for answer in answers]
    for text in (*told, log.read_text(), await everything_stored(database_url)):
        for secret in secrets:
            assert secret.removeprefix("whsec_")[:16] not in text


async def test_errors_of_an_unreachable_database_show_neither_key_nor_password(tmp_path: Path) -> None:
    key, log = new_key(), tmp_path / "log"
    async with api_process(NOWHERE, ready=False, log=log, settings=DEMANDED) as api:
        answers = [await _sent(api.client, request) for request in (*placed(key), *misplaced(key, key))]
        ready = await api.client.get("/health/ready")
    assert {answer.status_code for answer in answers} == {401, 503}
    for text in (log.read_text(), ready.text, *(answer.text + str(answer.headers) for answer in answers)):
        assert key.text.rpartition("_")[2][:16] not in text
        assert "hunter2" not in text


def placed(key: Key) -> Iterator[Request]:
    """The key where it belongs, and near there."""
    here, jobs = key.text, "/v1/jobs"
    for header in (f"Bearer {here}", f"Basic {here}", here, f"Bearer {here}x", f"Bearer {here[:-3]}"):
        yield {"url": jobs, "headers": {"Authorization": header}}
        yield {"url": "/metrics", "headers": {"Authorization": header}}
        yield {"method": "POST", "url": jobs, "headers": {"Authorization": header}, "content": b"{}"}
    yield {"url": jobs, "headers": [("Authorization", f"Bearer {here}")] * 2}
    yield {"url": jobs, "headers": {"X-API-Key": here}}
    yield {"url": jobs, "params": {"api_key": here}}


def misplaced(key: Key, good: Key) -> Iterator[Request]:
    """The key beside a good one, in every other part of a request."""
    here, jobs = key.text, "/v1/jobs"
    headers = {"Authorization": f"Bearer {good.text}"}
    for method, path in (
        ("GET", f"{jobs}/{here}"),
        ("GET", f"{jobs}/{here}/events"),
        ("GET", f"/{here}"),
        ("PUT", f"{jobs}/{here}"),
        ("DELETE", f"{jobs}/{here}"),
    ):
        yield {"method": method, "url": path, "headers": headers}
    for name in ("cursor", "limit", "status", here):
        yield {"url": jobs, "params": {name: here}, "headers": headers}
    for name in HEADERS:
        yield {"method": "POST", "url": jobs, "headers": {**headers, name: here}, "content": here.encode()}
        yield {"url": jobs, "headers": {**headers, name: here}}
    yield from _submissions(here, headers)


def about_webhooks(here: str, path: str) -> Iterator[Request]:
    """A webhook's secret where requests about webhooks could have it by mistake."""
    for body in ({"url": here}, {"url": f"https://{here}@example.com/"}, {"secret": here}, {here: 1}, here):
        yield {"method": "POST", "url": WEBHOOKS, "json": body}
        yield {"method": "PATCH", "url": path, "json": body}
    yield {"method": "POST", "url": WEBHOOKS, "json": {"url": "https://example.com/", "events": [here]}}
    yield {"method": "POST", "url": f"{path}/deliveries/{here}/resend"}
    yield {"url": f"{WEBHOOKS}/{here}"}
    yield {"url": f"{path}/deliveries", "params": {"cursor": here}}


def _submissions(here: str, headers: dict[str, str]) -> Iterator[Request]:
    changes: list[dict[str, Any]] = [
        {here: 1},
        {"model": here},
        {"task": here},
        {"task": {"template": here}},
        {"task": {"template": "{" + here + "}"}},
        {"task": {**CONFIG["task"], "id_field": here}},
        {"search": {"strategy": here}},
    ]
    for change in changes:
        yield _posted({"json": {"config": {**CONFIG, **change}, "examples": pairs(2)}}, headers)
    yield _posted({"json": {"config": CONFIG, "examples": pairs(2), here: here}}, headers)
    yield _posted({"json": {"config": CONFIG, "examples": [{here: here}]}}, headers)
    yield _posted({"json": {"config": CONFIG, "examples": pairs(2)}}, headers)
    yield _posted({"content": here, "headers": {"Content-Type": "application/json"}}, headers)
    yield _posted({"content": here, "headers": {"Content-Type": f"multipart/form-data; boundary={here}"}}, headers)
    yield _posted({"content": b"x" * 11_000_000, "headers": {"Content-Type": "application/json"}}, headers)
    for name, content in ((f"{here}.csv", b"a\n1\n"), (here, here.encode()), ("a.jsonl", jsonl([{here: 1}]))):
        yield _posted({"files": {"dataset": (name, content)}, "data": {"config": jsonl([CONFIG])}}, headers)


def _posted(request: Request, headers: dict[str, str]) -> Request:
    return {"method": "POST", "url": "/v1/jobs", **request, "headers": {**headers, **request.get("headers", {})}}


async def _sent(client: httpx.AsyncClient, request: Request) -> httpx.Response:
    return await client.request(**{"method": "GET", **request})


async def everything_stored(database_url: str) -> str:
    """The tables about access as text; data sets and configurations are the user's own."""
    address = driver_address(database_url)
    connection = await asyncpg.connect(address)
    try:
        queries = ("SELECT * FROM api_keys", "SELECT * FROM audit_log", "SELECT * FROM projects")
        return "".join([repr(await connection.fetch(query)) for query in queries])
    finally:
        await connection.close()
