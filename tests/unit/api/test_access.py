"""Which requests are authenticated, which are refused, and with which messages."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog

from service.access.issuing import create_key, revoke_key
from service.access.keys import key_of, new_key
from service.errors import StorageUnavailable
from service.identifiers import new_job_id
from service.records.access import Scope
from service.settings import AccessSettings, Settings
from tests.support.running.harness import Service
from tests.support.stores import ScratchStore
from tests.unit.api.operations import OPEN, Operation, operations, unknown_ids

EVERYWHERE = Settings(host="0.0.0.0")  # noqa: S104 - nothing listens in these tests
DEMANDED = Settings(access=AccessSettings(required=True))
GUARDED = {"beyond loopback": EVERYWHERE, "demanded": DEMANDED}
ELSEWHERE = [
    "/docs/",
    "/docs/other",
    "/docs/../v1/jobs",
    "/redoc",
    "/openapi.json/",
    "/nowhere",
    "/health",
    "/health/live/",
    "//health/live",
]


# What a key has to be like does not depend on the reason why one is demanded.
@pytest.fixture(params=["demanded", pytest.param("beyond loopback", marks=pytest.mark.long)])
async def guarded(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    service = Service(ScratchStore(), settings=GUARDED[request.param])
    async with service.client:
        yield service


@pytest.mark.parametrize("guarded", GUARDED, indirect=True)
async def test_health_is_all_that_can_be_asked_for_without_a_key(guarded: Service) -> None:
    for operation in operations(guarded.app):
        answer = await guarded.client.request(operation.method, operation.filled(unknown_ids()))
        assert answer.status_code == (200 if operation.path in OPEN else 401), str(operation)


async def test_pages_and_paths_outside_the_document_need_a_key_too(guarded: Service) -> None:
    for path in ELSEWHERE:
        assert (await guarded.client.get(path)).status_code == 401, path


async def test_the_documentation_can_be_read_without_a_key(guarded: Service) -> None:
    for path in ("/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"):
        assert (await guarded.client.get(path)).status_code == 200, path


async def test_on_loopback_everything_can_be_asked_for_without_a_key(service: Service) -> None:
    for operation in operations(service.app):
        answer = await service.client.request(operation.method, operation.filled(unknown_ids()))
        assert answer.status_code not in {401, 403}, str(operation)
    assert (await service.client.get("/docs")).status_code == 200


@pytest.mark.parametrize("granted", list(Scope))
async def test_every_operation_asks_for_its_scope(guarded: Service, granted: Scope) -> None:
    client = await guarded.member("birds", granted)
    for operation in operations(guarded.app):
        answer = await client.request(operation.method, operation.filled(unknown_ids()))
        needed = scope_of(operation)
        allowed = needed in {None, granted} or granted is Scope.ADMIN
        assert (answer.status_code == 403) == (not allowed), str(operation)
        assert answer.status_code != 401, str(operation)
        if not allowed:
            assert answer.json()["type"] == "urn:icm:problem:not-permitted"
            assert answer.headers["WWW-Authenticate"] == (
                f'Bearer realm="icm", error="insufficient_scope", scope="{needed}"'
            )


async def test_the_document_states_the_scope_of_every_operation(service: Service) -> None:
    for operation in operations(service.app):
        needed = scope_of(operation)
        assert operation.definition.get("security") == (None if needed is None else [{"ApiKey": [needed]}])
        told = set(operation.definition["responses"])
        assert needed is None or told >= {"401", "403", "429", "503"}, str(operation)


def scope_of(operation: Operation) -> Scope | None:
    """The scope that an operation needs: admin for metrics, `read` for reads, `write` for everything else."""
    if operation.path in OPEN:
        return None
    if operation.path == "/metrics":
        return Scope.ADMIN
    return Scope.READ if operation.method == "GET" else Scope.WRITE


async def test_an_invalid_key_is_refused(guarded: Service) -> None:
    key, made = await create_key(guarded.store, project="birds", name="a", scopes=[Scope.ADMIN])
    wrong = key_of(key.id, bytes(32)).text
    words = {"KEY": made.text, "ID": f"icm_{key.id}", "UPPER": made.text.upper(), "WRONG": wrong}
    words["UNKNOWN"] = new_key().text
    cases: list[tuple[dict[str, str], str]] = [
        ({}, ""),
        ({"Authorization": "Basic aWNtOmljbQ=="}, ""),
        ({"Authorization": ""}, ""),
        ({"Authorization": "Bearer"}, ""),
        ({"Authorization": "Bearer a b"}, ""),
        ({"X-API-Key": "KEY"}, ""),
        ({"Authorization": "KEY"}, ""),
        ({"Authorization": "Bearer KEY KEY"}, ""),
        ({"Authorization": "Bearer KEY, Bearer KEY"}, ""),
        ({"Authorization": "Bearer x"}, ', error="invalid_token"'),
        ({"Authorization": "Bearer ID"}, ', error="invalid_token"'),
        ({"Authorization": "Bearer UPPER"}, ', error="invalid_token"'),
        ({"Authorization": "Bearer KEYx"}, ', error="invalid_token"'),
        ({"Authorization": "Bearer WRONG"}, ', error="invalid_token"'),
        ({"Authorization": "Bearer UNKNOWN"}, ', error="invalid_token"'),
    ]
    for sent, error in cases:
        headers = {name: _replaced(value, words) for name, value in sent.items()}
        refused(await guarded.client.get("/v1/jobs", headers=headers), error)


async def test_the_scheme_is_read_in_any_case(guarded: Service) -> None:
    _, made = await create_key(guarded.store, project="birds", name="a", scopes=[Scope.READ])
    for scheme in ("Bearer ", "bearer ", "BEARER  "):
        answer = await guarded.client.get("/v1/jobs", headers={"Authorization": f"{scheme}{made.text} "})
        assert answer.status_code == 200, scheme


async def test_a_wrong_secret_is_answered_like_an_unknown_key(guarded: Service) -> None:
    key, _ = await create_key(guarded.store, project="birds", name="a", scopes=[Scope.ADMIN])
    answers = []
    for made in (key_of(key.id, bytes(32)), new_key()):
        answer = await guarded.connected(made.text).get("/v1/jobs")
        told = {name: value for name, value in answer.json().items() if name != "request_id"}
        headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
        answers.append((answer.status_code, told, headers))
    assert answers[0] == answers[1]


async def test_a_bad_key_is_refused_even_where_none_is_needed(service: Service) -> None:
    refused(await service.connected(new_key().text).get("/v1/jobs"), ', error="invalid_token"')


UNREADABLE = [
    "Token KEY",
    'Bearer "KEY"',
    "Bearer 'KEY'",
    "Bearer <KEY>",
    "Bearer:KEY",
    "BearerKEY",
    "Bearer",
    "Bearer ",
    "Bearer KEY, Bearer KEY",
    "Bearer KEY extra",
    "Bearer\tKEY",
    "KEY",
    "",
    " ",
    "Digest username=x",
    "Basic KEY",
    "Basic !!",
    "Basic PASSWORD",
]


async def test_a_credential_that_cannot_be_read_is_refused_even_where_none_is_needed(service: Service) -> None:
    _, made = await create_key(service.store, project="birds", name="a", scopes=[Scope.ADMIN])
    words = {"KEY": made.text, "PASSWORD": base64.b64encode(f"{made.text}:".encode()).decode()}
    others = ("X-API-Key", "Api-Key", "X-Auth-Token", "X-Access-Token", "X-Api-Token", "apikey", "Cookie", "X-My-Key")
    sent = [("Authorization", value) for value in UNREADABLE] + [(name, "KEY") for name in others]
    for name, value in sent:
        for path in ("/v1/jobs", "/metrics", "/nowhere"):
            answer = await service.client.get(path, headers={name: _replaced(value, words)})
            assert answer.status_code == 401, (name, value)
            refused(answer, "")
            assert "`Authorization: Bearer icm_...`" in answer.json()["detail"]
            assert made.text not in answer.text


async def test_a_good_key_is_enough_whatever_other_headers_say(service: Service) -> None:
    client = await service.member("birds")
    assert (await client.get("/v1/jobs", headers={"X-API-Key": "something else"})).status_code == 200


async def test_a_proxys_own_password_is_no_key_of_ours_on_loopback(service: Service) -> None:
    assert (await service.client.get("/v1/jobs", headers={"Authorization": "Basic eDp5"})).status_code == 200


PAGE = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}


PAGES: list[tuple[str, dict[str, str], bool]] = [
    ("POST", {}, True),
    ("POST", PAGE, True),
    ("POST", {"Host": "localhost", "Origin": "http://localhost"}, True),
    ("POST", {"Host": "[::1]:8000", "Sec-Fetch-Site": "same-origin"}, True),
    ("GET", {"Host": "127.0.0.1:8000", "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, True),
    ("GET", {"Host": "127.0.0.1:8000", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
    ("POST", {"Host": "127.0.0.1:8000", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False),
    ("GET", {"Host": "127.0.0.1:8000", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
    ("POST", {**PAGE, "Sec-Fetch-Site": "same-site"}, False),
    ("POST", {**PAGE, "Origin": "https://evil.example"}, False),
    ("POST", {**PAGE, "Origin": "null"}, False),
    ("POST", {**PAGE, "Origin": "http://127.0.0.1:9000"}, False),
    ("POST", {**PAGE, "Host": "evil.example", "Origin": "http://evil.example"}, False),
    ("GET", {"Host": "evil.example", "Sec-Fetch-Site": "same-origin"}, False),
    ("GET", {"Host": "evil.example", "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, False),
]


async def test_a_page_in_a_local_browser_is_let_in_only_if_it_is_ours(service: Service) -> None:
    keyed = await service.member("birds")
    for method, headers, let_in in PAGES:
        answer = await service.client.request(method, "/v1/jobs", headers=headers)
        assert (answer.status_code not in {401, 421}) == let_in, headers
        assert (await keyed.request(method, "/v1/jobs", headers=headers)).status_code != 401, headers


async def test_a_request_for_another_host_is_refused_whatever_it_asks_for(service: Service) -> None:
    for path in ("/docs", "/nowhere", *(operation.path for operation in operations(service.app))):
        answer = await service.client.get(path, headers={"Host": "evil.example:8000"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (421, "application/problem+json"), path
        assert "ICM_ACCESS__ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("settings", [DEMANDED, EVERYWHERE], ids=["demanded", "everywhere"])
async def test_no_key_opens_another_host(settings: Settings) -> None:
    service = Service(ScratchStore(), settings=settings)
    keyed = await service.member("birds")
    for client, statuses in ((service.client, [421, 401]), (keyed, [421, 200])):
        answers = [await client.get("/v1/jobs", headers={"Host": host}) for host in ("evil.example", "localhost:1")]
        assert [answer.status_code for answer in answers] == statuses


async def test_a_request_with_two_hosts_or_none_is_refused(service: Service) -> None:
    for hosts in ([], ["localhost", "localhost"], ["localhost", "evil.example"]):
        request = service.client.build_request("GET", "/v1/jobs")
        request.headers = httpx.Headers([("host", host) for host in hosts])
        assert (await service.client.send(request)).status_code == 421, hosts


async def test_a_name_that_the_operator_gives_is_answered_to() -> None:
    service = Service(ScratchStore(), settings=Settings(access=AccessSettings(allowed_hosts="icm.example.com")))
    assert (await service.client.get("/v1/jobs", headers={"Host": "icm.example.com"})).status_code == 200
    assert (await service.client.get("/v1/jobs", headers={"Host": "evil.example"})).status_code == 421


async def test_two_authorization_headers_are_refused_whatever_they_say(guarded: Service) -> None:
    _, made = await create_key(guarded.store, project="birds", name="a", scopes=[Scope.READ])
    for second in (made.text, new_key().text):
        headers = [("Authorization", f"Bearer {made.text}"), ("authorization", f"Bearer {second}")]
        refused(await guarded.client.get("/v1/jobs", headers=headers), ', error="invalid_token"')


async def test_a_key_in_the_address_is_refused_beside_a_good_header_too(guarded: Service) -> None:
    _, made = await create_key(guarded.store, project="birds", name="a", scopes=[Scope.READ])
    for name in ("api_key", "api-key", "apikey", "access_token", "cursor", "anything", "API_KEY"):
        for client in (guarded.client, guarded.connected(made.text)):
            answer = await client.get("/v1/jobs", params={name: made.text})
            refused(answer, ', error="invalid_token"')
            assert "revoke" in answer.json()["detail"], name


async def test_a_key_in_the_address_is_refused_on_loopback(service: Service) -> None:
    assert (await service.client.get(f"/v1/jobs?limit=1&api_key={new_key().text}")).status_code == 401


async def test_a_refused_upload_is_not_read(guarded: Service) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            read.append(1)
            yield b"x"

    assert (await guarded.client.post("/v1/jobs", content=body())).status_code == 401
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/jobs",
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    await guarded.app({**scope, "raw_path": b"/v1/jobs", "root_path": "", "scheme": "http"}, receive, send)
    assert sent[0]["status"] == 401


class UnreachableStore(ScratchStore):
    def access_unit(self) -> Any:
        raise StorageUnavailable("Postgres cannot be reached")


async def test_a_key_that_cannot_be_looked_up_is_not_taken_for_a_bad_one() -> None:
    service = Service(UnreachableStore(), settings=EVERYWHERE)
    answer = await service.connected(new_key().text).get("/v1/jobs")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert (await service.client.get("/health/live")).status_code == 200


async def test_actions_are_in_the_audit_log_and_in_the_logs(guarded: Service) -> None:
    key, made = await create_key(guarded.store, project="default", name="a", scopes=[Scope.ADMIN])
    guarded.client = guarded.connected(made.text)
    with structlog.testing.capture_logs() as logged:
        job = await guarded.labelled()
        path = f"/v1/jobs/{job['id']}"
        result = await guarded.client.get(f"{path}/result", headers={"X-Request-ID": "taken"})
        await guarded.client.get(f"{path}/result", headers={"If-None-Match": result.headers["ETag"]})
        assert (await guarded.client.delete(path)).status_code == 204
        cancelled = await guarded.post()
        await guarded.client.post(f"/v1/jobs/{cancelled['id']}/cancel")
        await guarded.client.post(f"/v1/jobs/{new_job_id()}/cancel")
    await revoke_key(guarded.store, key.id)
    async with guarded.store.access_unit() as unit:
        entries = [(entry.action, entry.target) for entry in await unit.audit.latest(limit=99)][::-1]
        taken = [entry for entry in await unit.audit.latest(limit=99) if entry.request_id == "taken"]
    assert entries == [
        ("key.created", key.id),
        ("job.created", job["id"]),
        ("result.downloaded", job["id"]),
        ("job.deleted", job["id"]),
        ("job.created", cancelled["id"]),
        ("job.cancelled", cancelled["id"]),
        ("key.revoked", key.id),
    ]
    assert [(entry.action, entry.key_id, entry.project) for entry in taken] == [
        ("result.downloaded", key.id, "default")
    ]
    lines = [(line["action"], line["target"]) for line in logged if line["event"] == "audit"]
    assert lines == entries[1:-1]
    assert {line["key_id"] for line in logged if line["event"] == "request"} == {key.id}


def refused(answer: httpx.Response, error: str) -> None:
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == f'Bearer realm="icm"{error}'
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:icm:problem:not-authenticated"


def _replaced(value: str, words: dict[str, str]) -> str:
    for word, text in words.items():
        value = value.replace(word, text)
    return value
