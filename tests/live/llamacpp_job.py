"""A whole labelling job on a real llama.cpp server: API, worker and Postgres as `icm serve` starts them.

The file is named so that `make test` passes it by; `make test-llamacpp` runs it. With the small
model alone, since Gemma takes minutes for the comparisons, and knows less of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.llamacpp_server import computed_tokens
from tests.acceptance.served import Served, documents, icm
from tests.live.conftest import TIMEOUT_SECONDS, GgufServer
from tests.live.jobs import assert_as_gold, labelled, rows_of, service_on

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def service(small_gguf: GgufServer) -> Iterator[Served]:
    with service_on(kind="llamacpp", url=small_gguf.url, concurrency=4, timeout_seconds=300) as running:
        yield running


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparisons of the demonstration's data set."""
    return rows_of(("comparisons_digits", "comparisons_words"), tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def job(service: Served, small_gguf: GgufServer, rows: Path) -> dict[str, Any]:
    """The finished job with its report and rows, and llama.cpp's count of tokens."""
    before = computed_tokens(small_gguf.url)
    return {**labelled(service, rows), "counted": computed_tokens(small_gguf.url) - before}


def test_rows_are_labelled_as_gold_has_them(job: dict[str, Any], rows: Path) -> None:
    assert_as_gold(job, rows)


def test_the_jobs_tokens_are_those_that_llamacpp_counted(job: dict[str, Any]) -> None:
    cost = job["report"]["cost"]
    assert 0.9 * job["counted"] <= cost["tokens_computed"] <= job["counted"]  # it also counts the probe and the canary
    assert cost["tokens_computed"] < cost["tokens_sent"] / 2


def test_the_probe_finds_llamacpp_ready(service: Served, job: dict[str, Any]) -> None:
    """After the job, when the probe has ended: on a busy machine the first `icm models` comes before that."""
    [model] = documents(icm("models", "--json", url=service.url))
    assert job["job"]["status"] == "succeeded"
    assert model["kind"] == "llamacpp"
    assert (model["ready"], model["problems"]) == (True, [])
