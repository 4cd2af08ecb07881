"""A whole labelling job on a real inference server: API, worker and Postgres as `icm serve` starts them."""

import json
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.served import ICM, Served, all_gone, data_folder, documents, icm

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def service_on(**backend: Any) -> Iterator[Served]:
    """Run the service on one backend; the test fails if a part is left at the end."""
    backends = json.dumps([{"name": "default", **backend}])
    with data_folder() as folder:
        command = (*ICM, "serve", "--port", "0", "--data-dir", str(folder), "--backends", backends, "--json")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            running = Served(process, json.loads(process.stdout.readline())["url"], folder)
            parts = running.parts()
            try:
                yield running
            finally:
                process.terminate()
                process.wait(60)
        assert all_gone(parts)


def rows_of(tasks: Collection[str], folder: Path) -> Path:
    """A file with the demonstration's rows of these tasks."""
    path = folder / "rows.jsonl"
    lines = (EXAMPLES / "demo.jsonl").read_text("utf-8").splitlines()
    path.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["task"] in tasks), "utf-8")
    return path


def labelled(service: Served, rows: Path) -> dict[str, Any]:
    """Label the rows; returns the finished job with its report, and the rows under `rows`."""
    output = rows.with_name("labelled.jsonl")
    done = icm("label", rows, "-o", output, "--config", EXAMPLES / "demo.json", "--json", url=service.url)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    return {**documents(done)[0], "rows": found}


def assert_as_gold(job: dict[str, Any], rows: Path) -> None:
    """Check that the job labelled every row, nearly all of them correctly, and that its report says so."""
    found = job["rows"]
    assert len(found) == len(rows.read_text("utf-8").splitlines()) > 0
    assert sum(row["icm_label"] == str(row["gold"]) for row in found) >= 0.85 * len(found)
    assert job["job"]["status"] == "succeeded"
    assert job["report"]["verdict"] == "ok"
