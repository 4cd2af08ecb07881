import asyncio
import inspect
import re
from collections.abc import Sequence
from typing import NoReturn

import pytest
import structlog

from api.errors import STATUS_OF, kind_of
from service import errors
from service.records.access import Caller
from service.records.scoring import BackendInfo
from service.scoring.deterministic import DeterministicScorer
from service.settings import ServerSettings, Settings
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import ScratchStore

MISSING = f"/v1/jobs/job_{'0' * 32}"
FIELDS = {"type", "title", "status", "detail", "request_id"}


def service_errors() -> list[type[errors.ServiceError]]:
    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    return [cls for cls in classes if issubclass(cls, errors.ServiceError) and cls is not errors.ServiceError]


def test_every_error_of_the_service_has_a_status() -> None:
    assert set(STATUS_OF) == set(service_errors())


def test_every_error_has_a_type_of_its_own() -> None:
    kinds = {kind_of(cls("why")).slug for cls in service_errors()}
    assert len(kinds) == len(service_errors())


def test_an_error_made_later_is_answered_like_its_nearest_ancestor() -> None:
    class Later(errors.JobFinished):
        pass

    assert kind_of(Later("why")) == kind_of(errors.JobFinished("why"))


async def test_every_error_is_a_problem_document(service: Service) -> None:
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("GET", "/v1/jobs/", 404),
        ("GET", MISSING, 404),
        ("GET", "/v1/jobs/%00", 404),
        ("GET", "/v1/jobs/job_%F0%9F%98%80", 404),
        ("PATCH", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=0", 422),
        ("GET", "/v1/jobs?limit=x", 422),
        ("GET", "/v1/jobs?status=unknown", 422),
        ("GET", "/v1/jobs?cursor=x", 400),
        ("GET", "/v1/jobs?cursor=%F0%9F%98%80", 400),
        ("POST", "/v1/jobs", 415),
    ):
        answer = await service.client.request(method, path)
        problem = answer.json()
        assert answer.status_code == status, path
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert set(problem) - {"errors"} == FIELDS
        assert problem["status"] == status
        assert problem["type"].startswith("urn:icm:problem:")
        assert problem["request_id"] == answer.headers["X-Request-ID"]


async def test_the_answer_to_a_wrong_method_lists_the_allowed_ones(service: Service) -> None:
    for method, path, allowed in (
        ("PUT", "/v1/jobs", {"GET", "POST"}),
        ("PUT", MISSING, {"GET", "DELETE"}),
        ("OPTIONS", "/v1/jobs/estimate", {"POST"}),
        ("GET", MISSING + "/cancel", {"POST"}),
        ("DELETE", "/health/live", {"GET"}),
    ):
        answer = await service.client.request(method, path)
        assert answer.status_code == 405, path
        assert set(answer.headers["Allow"].split(", ")) == allowed, path
        assert answer.json()["detail"] == f"this address does not take {method}; it takes {answer.headers['Allow']}"


async def test_the_answer_for_an_unknown_address_is_in_plain_words(service: Service) -> None:
    for path in ("/v1/job", "/v1/jobs/a%2Fb", "/v1/jobs/", "/nowhere"):
        answer = await service.client.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["detail"] == "there is nothing at this address; /docs lists all addresses", path


async def test_a_request_keeps_its_id_and_gets_one_in_place_of_an_unusable_one(service: Service) -> None:
    async def id_of_request(given: str) -> str:
        answer = await service.client.get("/health/live", headers={"X-Request-ID": given})
        return answer.headers["X-Request-ID"]

    assert await id_of_request("trace-1.a_b") == "trace-1.a_b"
    for unusable in ("", "a b", "x" * 129, "<script>"):
        assert re.fullmatch("[0-9a-f]{32}", await id_of_request(unusable)), unusable


class FailingStore(ScratchStore):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def project_unit(self, caller: Caller) -> NoReturn:
        raise self._error

    async def ping(self) -> None:
        raise self._error


async def test_an_unexpected_error_is_reported_without_details() -> None:
    answer = await Service(FailingStore(RuntimeError("secret password"))).client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:icm:problem:internal-server-error")
    assert "secret" not in answer.text
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


class BrokenBackend(DeterministicScorer):
    def __init__(self, error: errors.BackendError | None, *, reachable: bool = True) -> None:
        super().__init__()
        self._error = error
        self._reachable = reachable

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        if self._error is not None:
            raise self._error
        problems = ("no top tokens",)
        return BackendInfo(name="default", kind="tgi", ready=False, reachable=self._reachable, problems=problems)


@pytest.mark.parametrize(
    ("backend", "status", "kind", "wait"),
    [
        (BrokenBackend(None), 422, "backend-refused", None),
        (BrokenBackend(None, reachable=False), 503, "backend-unavailable", "5"),
        (BrokenBackend(errors.BackendUnavailable("busy", 17.0)), 503, "backend-unavailable", "17"),
        (BrokenBackend(errors.LabelUnreachable("no label")), 422, "label-unreachable", None),
        (BrokenBackend(errors.BackendError("odd")), 502, "backend-error", None),
    ],
)
async def test_a_backend_that_cannot_serve_is_reported_before_anything_is_stored(
    backend: BrokenBackend, status: int, kind: str, wait: str | None
) -> None:
    service = Service(ScratchStore(), backend)
    answer = await service.client.post("/v1/jobs", json={"config": CONFIG, "examples": pairs(8)})
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:icm:problem:{kind}")
    assert answer.headers.get("Retry-After") == wait
    assert (await service.client.get("/v1/jobs")).json()["data"] == []


async def test_a_request_that_was_served_before_gets_its_job_while_the_backend_is_away() -> None:
    store, headers = ScratchStore(), {"Idempotency-Key": "key"}
    body = {"config": CONFIG, "examples": pairs(8)}
    first = await Service(store).client.post("/v1/jobs", json=body, headers=headers)
    away = Service(store, BrokenBackend(errors.BackendUnavailable("away"))).client
    again = await away.post("/v1/jobs", json=body, headers=headers)
    other = await away.post("/v1/jobs", json=body, headers={"Idempotency-Key": "other"})
    assert (first.status_code, again.status_code, other.status_code) == (202, 202, 503)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("kind", [errors.StorageUnavailable, errors.StorageFull])
async def test_the_databases_address_is_in_the_log_and_not_in_the_answer(
    kind: type[errors.StorageUnavailable],
) -> None:
    reason = "Connect call failed ('10.1.2.3', 5432), base/16384/24601, user icm"
    service = Service(FailingStore(kind(reason)))
    with structlog.testing.capture_logs() as logged:
        answers = [await service.client.get(path) for path in ("/v1/jobs", "/health/ready")]
    for answer in answers:
        assert answer.status_code in {503, 507}
        assert int(answer.headers["Retry-After"]) >= 1
        assert not [part for part in ("10.1.2.3", "5432", "base/", "user icm") if part in answer.text]
    assert any(line.get("reason") == reason for line in logged)


async def test_readiness_waits_for_the_first_answer_of_the_default_backend_where_it_is_asked_to() -> None:
    backend = BrokenBackend(None, reachable=False)
    service = Service(ScratchStore(), backend, Settings(server=ServerSettings(ready_with_backend=True)))
    for _ in range(2):
        answer = await service.client.get("/health/ready")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:icm:problem:backend-unavailable")
        assert "Retry-After" in answer.headers
    assert (await service.client.get("/health/live")).status_code == 200
    for is_there in (True, False):  # what is stored can be read while a backend is away
        backend._reachable = is_there
        assert (await service.client.get("/health/ready")).status_code == 200


class SlowBackend(DeterministicScorer):
    """Its probe takes a moment; `probes` counts them."""

    probes = 0

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        self.probes += 1
        for _ in range(50):
            await asyncio.sleep(0)
        return await super().probe(labels, all_spellings=all_spellings, separator=separator)


async def test_concurrent_readiness_checks_wait_for_one_probe() -> None:
    backend = SlowBackend()
    service = Service(ScratchStore(), backend, Settings(server=ServerSettings(ready_with_backend=True)))
    answers = await asyncio.gather(*(service.client.get("/health/ready") for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert backend.probes == 1


async def test_readiness_does_not_fail_with_a_probe_that_fails() -> None:
    backend = BrokenBackend(errors.BackendError("odd"))
    service = Service(ScratchStore(), backend, Settings(server=ServerSettings(ready_with_backend=True)))
    assert (await service.client.get("/health/ready")).status_code == 503
    backend._error = None
    assert (await service.client.get("/health/ready")).status_code == 200


async def test_readiness_does_not_call_the_backend_by_default() -> None:
    service = Service(ScratchStore(), BrokenBackend(None, reachable=False))
    assert (await service.client.get("/health/ready")).status_code == 200


async def test_models_show_why_a_backend_cannot_be_probed() -> None:
    broken = Service(ScratchStore(), BrokenBackend(errors.BackendUnavailable("busy")))
    [found] = (await broken.client.get("/v1/models")).json()["data"]
    assert (found["ready"], found["problems"]) == (False, ["busy"])


async def test_metrics_count_requests_by_route_template(service: Service) -> None:
    await service.post()
    for path in (MISSING, "/v1/jobs/other", "/nowhere/at/all"):
        await service.client.get(path)
    text = (await service.client.get("/metrics")).text
    assert 'icm_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"} 2.0' in text
    assert 'icm_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert "icm_jobs_submitted_total 1.0" in text
    assert "icm_rows_submitted_total 8.0" in text
    assert "job_000" not in text
