import ssl
from typing import Any

import httpx
import numpy as np
import pytest

from icm import Client, ServerUnreachable
from icm.documents import Job
from icm.errors import UnsendableData, UnusableId
from tests.support.commands import IMPATIENT
from tests.unit.icm.fake_service import FakeService, job_document


def tls_error(number: int, reason: str) -> ssl.SSLError:
    found = ssl.SSLError(number, f"[SSL: {reason}] (_ssl.c:1006)")
    found.reason = reason
    return found


def untrusted() -> ssl.SSLCertVerificationError:
    found = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] (_ssl.c:1006)")
    found.reason, found.verify_message = "CERTIFICATE_VERIFY_FAILED", "self-signed certificate"
    return found


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (tls_error(1, "WRONG_VERSION_NUMBER"), "what answers there speaks no TLS; write http:// if"),
        (tls_error(1, "NO_SHARED_CIPHER"), "TLS could not be agreed on (no shared cipher)"),
        (untrusted(), "its certificate is not accepted (self-signed certificate); name its authority in SSL_CERT_FILE"),
    ],
)
def test_a_fault_of_tls_is_told_in_plain_words(cause: ssl.SSLError, told: str) -> None:
    failed = httpx.ConnectError(str(cause))
    failed.__cause__ = OSError()
    failed.__cause__.__context__ = cause
    transport = httpx.MockTransport(FakeService(failed))
    with (
        Client("https://localhost:8123", transport=transport, retries=IMPATIENT) as client,
        pytest.raises(ServerUnreachable) as caught,
    ):
        client.job("job_1")
    assert f"from https://localhost:8123 to GET /v1/jobs/job_1: {told}" in str(caught.value)
    assert "_ssl" not in str(caught.value)


@pytest.mark.parametrize("given", ["", " ", ".", "..", None, 7, Job.read(job_document())])
def test_what_is_no_id_is_refused_before_anything_is_sent(given: Any) -> None:
    service = FakeService()
    with service.client() as client:
        for call in (client.job, client.cancel, client.delete, client.report, client.wait):
            with pytest.raises(UnusableId, match="id"):
                call(given)
    assert service.requests == []


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"task": {"labels": {"a", "b"}}}, "field task.labels: JSON has no form for values of type set"),
        ({"search": {"seed": b"1"}}, "field search.seed: JSON has no form for values of type bytes"),
        ({"task": {("a", "b"): 1}}, "field task: names of fields must be text"),
    ],
)
def test_a_configuration_that_json_cannot_hold_is_refused_by_its_field(config: dict[str, Any], told: str) -> None:
    service = FakeService()
    with service.client() as client, pytest.raises(UnsendableData) as caught:
        client.estimate([{"a": 1}], config)
    assert str(caught.value).startswith(told), str(caught.value)
    assert service.requests == []


def test_numbers_of_numpy_may_stand_in_a_configuration() -> None:
    service = FakeService(httpx.Response(200, json={}))
    with service.client() as client:
        client.estimate([{"a": 1}], {"search": {"seed": np.int64(3)}})
    assert b'{"search": {"seed": 3}}' in service.requests[0].content
