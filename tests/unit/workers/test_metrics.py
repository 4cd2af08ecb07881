"""The metrics of a worker, and how they are read."""

import socket
from dataclasses import replace
from http.client import HTTPConnection

import httpx
import pytest

from icm.local_stack.free_ports import free_port
from service.errors import BackendRefused, BackendUnavailable, LeaseLost
from service.identifiers import WorkerId
from service.observability.metrics import ServiceMetrics
from tests.support.running.workplace import Workplace
from tests.support.stored import queued
from workers.metrics import WorkMetrics, served_metrics
from workers.worker import Worker


async def turn(workplace: Workplace) -> str:
    """What a worker reports after one attempt to claim work."""
    await Worker(workplace.application, WorkerId("counted"), WorkMetrics(workplace.application.metrics)).work_once()
    return workplace.application.metrics.exposition().decode()


async def test_a_labelled_job_changes_its_counters_and_no_others(workplace: Workplace) -> None:
    await queued(workplace.store, 6)
    told = await turn(workplace)
    assert 'icm_worker_turns_total{kind="label",outcome="succeeded"} 1.0' in told
    assert "icm_worker_rows_labelled_total 6.0" in told
    assert "icm_worker_busy 0.0" in told
    others = [
        line for line in told.splitlines() if line.startswith("icm_worker_turns_total") and "succeeded" not in line
    ]
    assert others
    assert all(line.endswith(" 0.0") for line in others)


async def test_a_claim_without_work_is_counted_as_not_found(workplace: Workplace) -> None:
    told = await turn(workplace)
    assert 'icm_worker_claim_duration_seconds_count{found="no"} 1.0' in told
    assert 'found="yes"' not in told


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (BackendUnavailable("away"), "paused"),
        (BackendRefused("no such label"), "failed"),
        (RuntimeError("nobody foresaw this"), "crashed"),
    ],
    ids=["away", "refused", "unforeseen"],
)
async def test_a_turn_is_counted_by_how_it_ended(workplace: Workplace, failure: Exception, outcome: str) -> None:
    await queued(workplace.store)
    workplace.backend.failure = failure
    assert f'icm_worker_turns_total{{kind="label",outcome="{outcome}"}} 1.0' in await turn(workplace)


async def test_a_lease_that_is_lost_is_counted_though_the_turn_has_no_end(workplace: Workplace) -> None:
    job_id = await queued(workplace.store)

    def another_takes_it() -> None:
        workplace.clock.advance(60.0)
        shard = workplace.store.state.items[job_id, 0]
        workplace.store.state.items[job_id, 0] = replace(shard, epoch=shard.epoch + 1)

    workplace.backend.at_call[1] = another_takes_it
    with pytest.raises(LeaseLost):
        await turn(workplace)
    told = workplace.application.metrics.exposition().decode()
    assert 'icm_worker_turns_total{kind="label",outcome="lease_lost"} 1.0' in told
    assert "icm_worker_busy 0.0" in told


def test_metrics_are_served_on_loopback_for_as_long_as_the_worker_runs() -> None:
    metrics, asked_for = ServiceMetrics(), free_port()
    with served_metrics(metrics, "127.0.0.1", asked_for) as port:
        assert port == asked_for
        assert "icm_build_info{" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{asked_for}/metrics")


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["worker.example.com:9100"], 200),
        (["evil.example"], 421),
        ([], 421),
        (["localhost", "localhost"], 421),
    ],
)
def test_metrics_are_served_under_names_of_ours_and_no_others(hosts: list[str], status: int) -> None:
    with served_metrics(ServiceMetrics(), "127.0.0.1", free_port(), ["worker.example.com"]) as port:
        connection = HTTPConnection("127.0.0.1", port or 0)
        connection.putrequest("GET", "/metrics", skip_host=True)
        for host in hosts:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == status
        assert (b"icm_build_info{" in answer.read()) == (status == 200)
        connection.close()


def test_metrics_are_served_over_ipv6_as_well() -> None:
    with served_metrics(ServiceMetrics(), "::1", free_port()) as port:
        assert httpx.get(f"http://[::1]:{port}/metrics").status_code == 200


def test_nobody_listens_unless_a_port_is_set() -> None:
    with served_metrics(ServiceMetrics(), "127.0.0.1", 0) as port:
        assert port is None


def test_a_worker_whose_metrics_port_is_taken_works() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        served_metrics(ServiceMetrics(), "127.0.0.1", taken.getsockname()[1]) as port,
    ):
        assert port is None
