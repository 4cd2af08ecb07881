"""Allowed values of `Host`: the same rule in the service and in the inference server."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

import inference.wires.hosts
import service.access.hosts
from service.settings import AccessSettings

RULES = {"service": service.access.hosts.AllowedHosts, "inference": inference.wires.hosts.AllowedHosts}
OURS = ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.0.0.1:8000", "127.8.9.1:9", "[::1]", "[::1]:65535"]
NOBODYS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost:8000:evil.example",
    "localhost, evil.example",
    "evil.example#localhost",
    "[::1].evil.example",
    "[::1",
    "::1",
    "127.1",
    "http://localhost",
    "localhost:http",
    "loc\u0430lhost.example",
    "svc.evil.example",
    "evilinternal.example",
    "",
    " ",
    ".",
    ":8000",
]
INNER = ["api", "inference:8080", "icm_api", "api.icm.svc", "api.icm.svc.cluster.local:80", "host.docker.internal"]
NUMBERS = ["10.1.2.3", "192.168.0.7:8000", "[fd00::1]:8000", "0.0.0.0:8000"]


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return RULES[request.param]


def test_on_loopback_only_loopback_names_and_addresses_are_ours(rule: Callable[..., Any]) -> None:
    for listening in ("127.0.0.1", "::1", "localhost", "127.0.0.9"):
        allowed = rule(listening)
        assert [host for host in OURS if not allowed.allows(host)] == [], listening
        assert [host for host in (*NOBODYS, *INNER, *NUMBERS) if allowed.allows(host)] == [], listening


def test_beyond_loopback_numbers_and_names_without_public_dns_are_ours_too(rule: Callable[..., Any]) -> None:
    for listening in ("0.0.0.0", "::", "192.168.0.7"):  # noqa: S104 - nothing listens in these tests
        allowed = rule(listening)
        assert [host for host in (*OURS, *INNER, *NUMBERS) if not allowed.allows(host)] == [], listening
        assert [host for host in NOBODYS if allowed.allows(host)] == [], listening


def test_the_name_that_is_listened_on_is_ours(rule: Callable[..., Any]) -> None:
    allowed = rule("box.example.com")
    assert allowed.allows("Box.example.com:8000")
    assert not allowed.allows("example.com")


def test_names_that_the_operator_gives_are_ours_with_any_port(rule: Callable[..., Any]) -> None:
    allowed = rule("127.0.0.1", ("icm.example.com", "*.example.org", "10.0.0.7", "fd00::1"))
    for host in (
        "icm.example.com",
        "ICM.example.com:443",
        "a.example.org",
        "a.b.example.org:1",
        "10.0.0.7",
        "[fd00::1]:8",
    ):
        assert allowed.allows(host), host
    for host in ("x.icm.example.com", "example.org", "evilexample.org", "10.0.0.8", "evil.example"):
        assert not allowed.allows(host), host


def test_a_star_stands_for_any_name(rule: Callable[..., Any]) -> None:
    assert rule("127.0.0.1", ("*",)).allows("evil.example")


@pytest.mark.parametrize("given", ["https://icm.example.com", "icm.example.com:443", "*example.com", "a b", "a/b"])
def test_a_setting_that_is_no_name_is_refused_and_says_what_one_is(given: str) -> None:
    with pytest.raises(ValidationError, match="without scheme and port"):
        AccessSettings(allowed_hosts=given)


def test_the_setting_is_a_list_of_names() -> None:
    assert AccessSettings(allowed_hosts=" ICM.example.com, [fd00::1],*.a.b,").hosts == (
        "icm.example.com",
        "fd00::1",
        "*.a.b",
    )
    assert AccessSettings().hosts == ()
