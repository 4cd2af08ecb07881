"""A whole labelling job on a real llama.cpp server: API, worker and Postgres as `icm serve` starts them.

The file is named so that `make test` passes it by; `make test-llamacpp` runs it.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.llamacpp_server import computed_tokens
from tests.acceptance.served import Served, documents, icm
from tests.live.conftest import TIMEOUT_SECONDS, LiveServer, Say
from tests.live.jobs import TWIN, Example, assert_as_gold, example, labelled, labelled_alike, service_on, summary

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def service(gguf_server: LiveServer, gguf_twin_url: str) -> Iterator[Served]:
    backend = {"kind": "llamacpp", "url": gguf_server.url, "concurrency": 4, "timeout_seconds": 600}
    with service_on(twin_url=gguf_twin_url, **backend) as running:
        yield running


@pytest.fixture(scope="module")
def work(gguf_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Example:
    return example(tmp_path_factory.mktemp("rows"), is_small=gguf_server.is_small)


@pytest.fixture(scope="module")
def job(service: Served, gguf_server: LiveServer, work: Example) -> dict[str, Any]:
    """The finished job with its report and rows, and llama.cpp's count of tokens."""
    before = computed_tokens(gguf_server.url)
    return {**labelled(service, work), "counted": computed_tokens(gguf_server.url) - before}


@pytest.fixture(scope="module")
def twin(service: Served, work: Example) -> dict[str, Any]:
    """The same job on the embedded server."""
    return labelled(service, work, TWIN)


def test_rows_are_labelled_as_gold_has_them(job: dict[str, Any], work: Example, twin: dict[str, Any]) -> None:
    assert_as_gold(job, work, twin)


def test_nearly_all_labels_are_those_of_the_embedded_server(
    job: dict[str, Any], twin: dict[str, Any], gguf_server: LiveServer, say: Say
) -> None:
    say(summary(f"job on llama.cpp with {gguf_server.same.name}", job, twin))
    assert labelled_alike(job, twin) >= 0.9


def test_the_jobs_tokens_are_those_that_llamacpp_counted(job: dict[str, Any], gguf_server: LiveServer) -> None:
    """Each of four slots computes a shared beginning by itself, so a job of 16 rows shares less than one of 96."""
    cost = job["report"]["cost"]
    assert 0.9 * job["counted"] <= cost["tokens_computed"] <= job["counted"]  # it also counts the probe and the canary
    assert cost["tokens_computed"] < cost["tokens_sent"] * (0.5 if gguf_server.is_small else 0.75)


def test_the_probe_finds_llamacpp_ready(service: Served, job: dict[str, Any]) -> None:
    """After the job, when the probe has ended: on a busy machine the first `icm models` comes before that."""
    model, _ = documents(icm("models", "--json", url=service.url))
    assert model["id"] == "default"
    assert job["job"]["status"] == "succeeded"
    assert model["kind"] == "llamacpp"
    assert (model["ready"], model["problems"]) == (True, [])
