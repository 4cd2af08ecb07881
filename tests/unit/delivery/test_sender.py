"""Messages over real connections on loopback: what is sent, what counts as an answer, and where nothing is sent."""

import inspect
import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import httpcore
import pytest

from service.records.webhooks import NotDelivered
from service.webhooks.addresses import AddressPolicy, AddressRefused
from service.webhooks.http.network import GuardedBackend, SystemResolver
from service.webhooks.http.sender import HttpSender
from tests.support.raw_server import HANG, TRICKLE, RawServer, reply, serving

LOOPBACK = AddressPolicy(allowed=(ipaddress.ip_network("127.0.0.0/8"),), allow_http=True)
PUBLIC = AddressPolicy(allow_http=True)
HEADERS = {"webhook-id": "msg_1", "content-type": "application/json"}
SECONDS = 20.0


class Names:
    """A resolver that gives planned answers, one after the other; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> RawServer:
    return RawServer()


@pytest.fixture
async def url(server: RawServer) -> AsyncIterator[str]:
    async with serving(server) as address:
        yield address


def sender(policy: AddressPolicy = LOOPBACK, *, seconds: float = SECONDS, **changes: Any) -> HttpSender:
    return HttpSender(policy, timeout_seconds=seconds, **changes)


async def refused(sent: HttpSender, url: str) -> str:
    with pytest.raises(NotDelivered) as caught:
        await sent.post(url, b"{}", HEADERS)
    return caught.value.reason


async def test_a_receiver_on_loopback_gets_the_message_where_the_operator_allows_it(
    server: RawServer, url: str
) -> None:
    answer = await sender().post(f"{url}/hook?a=b", b'{"a":1}', HEADERS)
    assert answer.status == 200
    [(head, body)] = server.requests
    lines = head.lower().split("\r\n")
    assert head.startswith("POST /hook?a=b HTTP/1.1\r\n")
    assert f"host: {url.removeprefix('http://')}" in lines
    assert {"webhook-id: msg_1", "content-type: application/json", "content-length: 7"} <= set(lines)
    assert body == b'{"a":1}'


async def test_without_the_operators_permission_nothing_connects(server: RawServer, url: str) -> None:
    port = url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]", "name.example"):
        policed = sender(PUBLIC, resolve=Names(["127.0.0.1"]))
        assert await refused(policed, f"http://{host}:{port}/") == "address_refused", host
    assert server.connections == 0


FORMS = ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "0.0.0.0", "::1", "::ffff:127.0.0.1", "localhost"]  # noqa: S104


@pytest.mark.parametrize("host", FORMS)
async def test_names_that_the_system_resolves_to_this_machine_are_refused(
    server: RawServer, url: str, host: str
) -> None:
    network = GuardedBackend(PUBLIC, SystemResolver())
    with pytest.raises((AddressRefused, OSError)):
        await network.connect_tcp(host, int(url.rpartition(":")[2]))
    assert server.connections == 0


async def test_a_name_that_means_something_else_the_second_time_is_asked_for_once(server: RawServer, url: str) -> None:
    port = int(url.rpartition(":")[2])
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    policy = AddressPolicy(allowed=(ipaddress.ip_network("127.0.0.2/32"),), allow_http=True)
    assert await refused(sender(policy, resolve=names), f"http://rebinding.example:{port}/") == "cannot_connect"
    assert names.asked == [("rebinding.example", port)]
    assert server.connections == 0  # nothing listens at the address that was checked
    assert await refused(sender(policy, resolve=names), f"http://rebinding.example:{port}/") == "address_refused"
    assert server.connections == 0


async def test_the_name_is_not_looked_up_again_behind_the_check(server: RawServer, url: str) -> None:
    """The system resolves localhost to the server's address; the check gave another one, where nothing listens."""
    policy = AddressPolicy(allowed=(ipaddress.ip_network("127.0.0.2/32"),))
    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(policy, Names(["127.0.0.2"])).connect_tcp("localhost", int(url.rpartition(":")[2]))
    assert server.connections == 0


async def test_one_private_address_beside_a_good_one_refuses_the_name(server: RawServer, url: str) -> None:
    policy = AddressPolicy(allowed=(ipaddress.ip_network("127.0.0.1/32"),), allow_http=True)
    names = Names(["127.0.0.1", "10.0.0.1"])
    assert await refused(sender(policy, resolve=names), f"http://two.example:{url.rpartition(':')[2]}/") == (
        "address_refused"
    )
    assert server.connections == 0


async def test_the_host_header_keeps_the_name_and_the_next_address_is_tried_where_one_is_dead(
    server: RawServer, url: str
) -> None:
    port = url.rpartition(":")[2]
    names = Names(["127.0.0.3", "127.0.0.1"])  # nothing listens at the first one
    answer = await sender(resolve=names).post(f"http://receiver.example:{port}/", b"{}", HEADERS)
    assert answer.status == 200
    assert f"host: receiver.example:{port}" in server.requests[0][0].lower()


async def test_a_redirect_is_not_followed(server: RawServer, url: str) -> None:
    server.plan = [reply("307 Temporary Redirect", headers={"Location": f"{url}/elsewhere"})]
    assert (await sender().post(url, b"{}", HEADERS)).status == 307
    assert len(server.requests) == 1


async def test_proxies_of_the_environment_are_not_used(
    server: RawServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await sender().post(url, b"{}", HEADERS)).status == 200
    assert server.requests[0][0].startswith("POST / ")


async def test_a_receiver_that_never_answers_is_a_time_out(server: RawServer, url: str) -> None:
    server.plan = [HANG]
    assert await refused(sender(seconds=0.2), url) == "timed_out"
    await server.left.wait()


async def test_a_body_that_never_ends_is_cut_off_and_its_status_counts(server: RawServer, url: str) -> None:
    server.plan = [reply("200 OK", b"x" * 1_000_000)]
    assert (await sender().post(url, b"{}", HEADERS)).status == 200


async def test_a_body_that_drips_is_cut_off_and_its_status_counts(
    server: RawServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.webhooks.http.sender._READ_SECONDS", 0.05)
    server.plan = [TRICKLE]
    assert (await sender().post(url, b"{}", HEADERS)).status == 200


async def test_an_answer_that_is_no_http_is_reported_as_such(server: RawServer, url: str) -> None:
    server.plan = [b"SSH-2.0-OpenSSH\r\n", reply("200 OK", promised=10)]
    assert await refused(sender(), url) == "broken_off"
    assert (await sender().post(url, b"{}", HEADERS)).status == 200  # its body breaks off, and nobody reads that


async def test_a_refused_connection_is_reported_as_such() -> None:
    assert await refused(sender(), "http://127.0.0.1:1025/") == "cannot_connect"


async def test_an_unknown_name_is_reported_as_such() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError(f"{host} and {port} are unknown")

    assert await refused(sender(resolve=unknown), "http://nowhere.example/") == "name_unknown"


async def test_a_url_that_is_not_allowed_any_more_is_not_sent_to(server: RawServer, url: str) -> None:
    strict = AddressPolicy(allowed=LOOPBACK.allowed, allow_http=False)
    assert await refused(sender(strict), url) == "address_refused"
    assert server.connections == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("Fri, 31 Dec 1999 23:59:59 GMT", 3_599), ("Fri, 31 Dec 1999 11:00:00 GMT", 0)],
    ids=["seconds", "date", "past"],
)
async def test_retry_after_is_read_by_the_receivers_own_clock(
    server: RawServer, url: str, header: str, seconds: float
) -> None:
    told = {"Retry-After": header, "Date": "Fri, 31 Dec 1999 23:00:00 GMT"}
    server.plan = [reply("503 Service Unavailable", headers=told)]
    assert (await sender().post(url, b"{}", HEADERS)).retry_after_seconds == seconds


async def test_a_date_in_retry_after_is_ignored_without_the_receivers_own_date(server: RawServer, url: str) -> None:
    server.plan = [reply("503 Service Unavailable", headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})]
    assert (await sender().post(url, b"{}", HEADERS)).retry_after_seconds is None


@pytest.mark.parametrize("header", ["soon", "-1", "1e9", "٣", "9" * 30, "nan", "99 Dec"], ids=ascii)
async def test_nonsense_in_retry_after_is_ignored(server: RawServer, url: str, header: str) -> None:
    server.plan = [reply("503 Service Unavailable", headers={"Retry-After": header}).replace("٣".encode(), b"\xd9")]
    assert (await sender().post(url, b"{}", HEADERS)).retry_after_seconds is None


def test_the_guard_uses_the_http_librarys_public_interface() -> None:
    """Another release of httpcore that calls it differently, or not at all, fails here rather than in the field."""
    assert "network_backend" in inspect.signature(httpcore.AsyncConnectionPool).parameters
    ours, theirs = (kind.connect_tcp for kind in (GuardedBackend, httpcore.AsyncNetworkBackend))
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


async def test_every_connection_goes_through_the_guard(server: RawServer, url: str) -> None:
    names = Names(["127.0.0.1"])
    for _ in range(3):
        await sender(resolve=names).post(url, b"{}", HEADERS)
    assert len(names.asked) == server.connections == 3


async def test_unix_sockets_are_refused() -> None:
    with pytest.raises(NotImplementedError):
        await GuardedBackend(PUBLIC, Names([])).connect_unix_socket("/var/run/docker.sock")
