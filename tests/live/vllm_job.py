"""A whole labelling job on a real vLLM: API, worker and Postgres as `icm serve` starts them, and its command line.

The file is named so that `make test` passes it by; `make test-vllm` runs it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.vllm_server import prompt_tokens
from tests.acceptance.served import Served, documents, icm
from tests.live.conftest import TIMEOUT_SECONDS
from tests.live.jobs import assert_as_gold, labelled, rows_of, service_on

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def service(vllm_url: str) -> Iterator[Served]:
    with service_on(kind="vllm", url=vllm_url, concurrency=16) as running:
        yield running


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparisons of the demonstration's data set."""
    return rows_of(("comparisons_digits", "comparisons_words"), tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def job(service: Served, vllm_url: str, rows: Path) -> dict[str, Any]:
    """The finished job with its report and rows, and vLLM's count of tokens."""
    before = prompt_tokens(vllm_url)
    return {**labelled(service, rows), "counted": prompt_tokens(vllm_url).since(before)}


def test_the_probe_finds_vllm_ready(service: Served) -> None:
    [model] = documents(icm("models", "--json", url=service.url))
    assert model["kind"] == "vllm"
    assert (model["ready"], model["problems"]) == (True, [])


def test_rows_are_labelled_as_gold_has_them(job: dict[str, Any], rows: Path) -> None:
    assert_as_gold(job, rows)


def test_the_jobs_tokens_are_those_that_vllm_counted(job: dict[str, Any]) -> None:
    cost, counted = job["report"]["cost"], job["counted"]
    assert cost["tokens_sent"] <= counted.sent  # it also counts the probe and the canary
    assert cost["tokens_computed"] <= counted.computed
    assert cost["tokens_sent"] >= 0.95 * counted.sent
    assert cost["tokens_computed"] < cost["tokens_sent"] / 4
