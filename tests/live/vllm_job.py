"""A whole labelling job on a real vLLM: API, worker and Postgres as `icm serve` starts them, and its command line.

The file is named so that `make test` passes it by; `make test-vllm` runs it.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.vllm_server import prompt_tokens
from tests.acceptance.served import ICM, Served, all_gone, data_folder, documents, icm

pytestmark = pytest.mark.timeout(900)

EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = ("comparisons_digits", "comparisons_words")


@pytest.fixture(scope="module")
def service(vllm_url: str) -> Iterator[Served]:
    """The service on vLLM; its parts are gone at the end, or the tests fail."""
    backends = json.dumps([{"name": "default", "kind": "vllm", "url": vllm_url, "concurrency": 16}])
    with data_folder() as folder:
        command = (*ICM, "serve", "--port", "0", "--data-dir", str(folder), "--backends", backends, "--json")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            running = Served(process, json.loads(process.stdout.readline())["url"])
            parts = running.parts()
            try:
                yield running
            finally:
                process.terminate()
                process.wait(60)
        assert all_gone(parts)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparisons of the demonstration's data set."""
    path = tmp_path_factory.mktemp("rows") / "comparisons.jsonl"
    lines = (EXAMPLES / "demo.jsonl").read_text("utf-8").splitlines()
    path.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["task"] in TASKS), "utf-8")
    return path


@pytest.fixture(scope="module")
def labelled(service: Served, vllm_url: str, rows: Path) -> dict[str, Any]:
    """The finished job with its report and rows, and what vLLM counted meanwhile."""
    output, before = rows.with_name("labelled.jsonl"), prompt_tokens(vllm_url)
    arguments = (rows, "-o", output, "--config", EXAMPLES / "demo.json", "--json")
    done = icm("label", *arguments, url=service.url)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    return {**documents(done)[0], "rows": found, "counted": prompt_tokens(vllm_url).since(before)}


def test_the_probe_finds_vllm_ready(service: Served) -> None:
    [model] = documents(icm("models", "--json", url=service.url))
    assert model["kind"] == "vllm"
    assert (model["ready"], model["problems"]) == (True, [])


def test_rows_are_labelled_as_gold_has_them(labelled: dict[str, Any], rows: Path) -> None:
    found = labelled["rows"]
    assert len(found) == len(rows.read_text("utf-8").splitlines()) > 0
    right = [row["icm_label"] == str(row["gold"]) for row in found]
    assert sum(right) >= 0.85 * len(found)
    assert labelled["job"]["status"] == "succeeded"
    assert labelled["report"]["verdict"] == "ok"


def test_the_jobs_tokens_are_those_that_vllm_counted(labelled: dict[str, Any]) -> None:
    cost, counted = labelled["report"]["cost"], labelled["counted"]
    assert cost["tokens_sent"] <= counted.sent  # which has the probe and the canary too
    assert cost["tokens_computed"] <= counted.computed
    assert cost["tokens_sent"] >= 0.95 * counted.sent
    assert cost["tokens_computed"] < cost["tokens_sent"] / 4
