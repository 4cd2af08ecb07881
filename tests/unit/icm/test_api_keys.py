"""Clients send their key to the configured service, and to no other."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from icm import AsyncClient, Client
from icm.commands import label
from icm.commands.failures import ExitCode, exit_code
from icm.commands.label import connected
from icm.errors import UnusableKey
from icm.local_stack.stack import StackOptions, api_settings
from tests.support.commands import IMPATIENT
from tests.unit.icm.fake_service import FakeService, job_answer

SHOWN = ["Bearer icm_a_b"]


def headers(service: FakeService) -> list[str | None]:
    return [request.headers.get("Authorization") for request in service.requests]


def test_the_key_goes_with_every_request_beside_other_headers() -> None:
    service = FakeService(job_answer())
    given = {"X-Team": "birds"}
    transport = httpx.MockTransport(service)
    with Client("http://service", api_key="icm_a_b", headers=given, transport=transport) as client:
        client.job("job_1")
        client.cancel("job_1")
    assert headers(service) == SHOWN * 2
    assert service.requests[0].headers["X-Team"] == "birds"


async def test_the_asynchronous_client_shows_it_too() -> None:
    service = FakeService(job_answer())
    transport = httpx.MockTransport(service.answer_later)
    async with AsyncClient("http://service", api_key="icm_a_b", retries=IMPATIENT, transport=transport) as client:
        await client.job("job_1")
    assert headers(service) == SHOWN


def test_without_a_key_none_is_shown() -> None:
    service = FakeService(job_answer())
    with service.client() as client:
        client.job("job_1")
    assert headers(service) == [None]


@pytest.mark.parametrize("key", ["", " ", "\n"])
def test_an_empty_key_is_none(key: str) -> None:
    service = FakeService(job_answer())
    with Client("http://service", api_key=key, transport=httpx.MockTransport(service)) as client:
        client.job("job_1")
    assert headers(service) == [None]


def test_white_space_around_a_key_is_no_part_of_it() -> None:
    service = FakeService(job_answer())
    with Client("http://service", api_key=" icm_a_b\n", transport=httpx.MockTransport(service)) as client:
        client.job("job_1")
    assert headers(service) == SHOWN


@pytest.mark.parametrize("key", ["icm_a\nb", "icm_\u00e4", "icm_a\x00b", "icm_a\x1bb"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UnusableKey) as refused:
        Client("http://service", api_key=key)
    assert "icm_" not in str(refused.value)
    assert exit_code(refused.value) is ExitCode.USAGE


def test_a_key_is_not_sent_after_a_redirect_to_another_host() -> None:
    service = FakeService(httpx.Response(307, headers={"Location": "http://elsewhere/"}))
    transport = httpx.MockTransport(service)
    with Client("http://service", api_key="icm_a_b", transport=transport) as client, pytest.raises(Exception):  # noqa: B017, PT011 - however it is refused
        client.job("job_1")
    assert {request.url.host for request in service.requests} == {"service"}


def test_a_private_service_is_not_shown_the_key_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def private(**_: object) -> Iterator[str]:
        yield "http://private"

    monkeypatch.setattr(label, "PrivateService", private)
    with connected(None, None, 1, api_key="icm_a_b", quiet=True) as client:
        assert "Authorization" not in client._http.headers
    with connected("http://service", None, 1, api_key="icm_a_b", quiet=True) as client:
        assert client._http.headers["Authorization"] == SHOWN[0]


def test_a_private_service_asks_for_no_key_whatever_the_environment_says() -> None:
    private = StackOptions(data_folder=Path("d"), private=True)
    assert api_settings(private)["ICM_ACCESS__REQUIRED"] == "false"
    assert "ICM_ACCESS__REQUIRED" not in api_settings(StackOptions(data_folder=Path("d")))
