"""A whole labelling job on a real vLLM: API, worker and Postgres as `icm serve` starts them, and its command line.

The file is named so that `make test` passes it by; `make test-vllm` runs it.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.vllm_server import prompt_tokens
from tests.acceptance.served import Served, documents, icm
from tests.live.conftest import TIMEOUT_SECONDS, LiveServer, Say
from tests.live.jobs import TWIN, Example, assert_as_gold, example, labelled, labelled_alike, service_on, summary

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def service(vllm: LiveServer, vllm_twin_url: str) -> Iterator[Served]:
    with service_on(twin_url=vllm_twin_url, kind="vllm", url=vllm.url, concurrency=16, timeout_seconds=600) as running:
        yield running


@pytest.fixture(scope="module")
def work(vllm: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Example:
    return example(tmp_path_factory.mktemp("rows"), is_small=vllm.is_small)


@pytest.fixture(scope="module")
def job(service: Served, vllm: LiveServer, work: Example) -> dict[str, Any]:
    """The finished job with its report and rows, and vLLM's count of tokens."""
    before = prompt_tokens(vllm.url)
    return {**labelled(service, work), "counted": prompt_tokens(vllm.url).since(before)}


@pytest.fixture(scope="module")
def twin(service: Served, work: Example) -> dict[str, Any]:
    """The same job on the embedded server."""
    return labelled(service, work, TWIN)


def test_the_probe_finds_vllm_ready(service: Served) -> None:
    model, _ = documents(icm("models", "--json", url=service.url))
    assert model["id"] == "default"
    assert model["kind"] == "vllm"
    assert (model["ready"], model["problems"]) == (True, [])


def test_rows_are_labelled_as_gold_has_them(job: dict[str, Any], work: Example, twin: dict[str, Any]) -> None:
    assert_as_gold(job, work, twin)


def test_labels_and_verdict_are_those_of_the_embedded_server(
    job: dict[str, Any], twin: dict[str, Any], vllm: LiveServer, say: Say
) -> None:
    """Scores to within a thousandth of a nat lead the search to the same labels, but for a row on the edge."""
    say(summary(f"job on vLLM with {vllm.same.name}", job, twin))
    assert labelled_alike(job, twin) >= 0.95
    assert job["report"]["verdict"] == twin["report"]["verdict"]


def test_the_jobs_tokens_are_those_that_vllm_counted(job: dict[str, Any], vllm: LiveServer) -> None:
    """Blocks of 128 tokens are several rows, so a job of 16 rows shares less than one of 96."""
    cost, counted = job["report"]["cost"], job["counted"]
    assert cost["tokens_sent"] <= counted.sent  # it also counts the probe and the canary
    assert cost["tokens_computed"] <= counted.computed
    assert cost["tokens_sent"] >= 0.95 * counted.sent
    assert cost["tokens_computed"] < cost["tokens_sent"] * (0.25 if vllm.is_small else 0.75)
