"""A whole labelling job on a real inference server: API, worker and Postgres as `icm serve` starts them.

A second backend of the service is the embedded server with the same language model, so that its labels of the same
rows stand beside those of the real server.
"""

import json
import statistics
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.served import ICM, Served, all_gone, data_folder, documents, icm

EXAMPLES = Path(__file__).parents[2] / "examples"
TWIN = "embedded"  # the backend with the embedded server
REVIEWS = 16  # film reviews of a job: real language models take minutes for more


@dataclass(frozen=True)
class Example:
    """Rows, and the configuration of a job that labels them."""

    rows: Path
    config: Mapping[str, Any]

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.rows.read_text("utf-8").splitlines())


@contextmanager
def service_on(*, twin_url: str, **backend: Any) -> Iterator[Served]:
    """Run the service on a backend and its twin; the test fails if a part is left at the end."""
    twin = {"name": TWIN, "kind": "embedded", "url": twin_url, "timeout_seconds": 600}
    backends = json.dumps([{"name": "default", **backend}, twin])
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


def example(folder: Path, *, is_small: bool) -> Example:
    """Comparisons of the demonstration for the small model, film reviews for one pretrained on real text."""
    if is_small:
        return _of("demo", folder, [row for row in _rows("demo") if row["task"].startswith("comparisons_")])
    reviews = _rows("reviews")
    each = REVIEWS // len({row["gold"] for row in reviews})  # a job that gives one label to every row is half wrong
    met = Counter[str]()
    chosen = []
    for row in reviews:
        met[row["gold"]] += 1
        chosen += [row] if met[row["gold"]] <= each else []
    return _of("reviews", folder, chosen)


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / f"{name}.jsonl").read_text("utf-8").splitlines()]


def _of(name: str, folder: Path, rows: Collection[dict[str, Any]]) -> Example:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return Example(path, json.loads((EXAMPLES / f"{name}.json").read_text("utf-8")))


def labelled(service: Served, work: Example, model: str = "default") -> dict[str, Any]:
    """Label the rows on a backend; returns the finished job with its report, and the rows under `rows`."""
    output = work.rows.with_name(f"labelled_by_{model}.jsonl")
    config = work.rows.with_name(f"config_of_{model}.json")
    config.write_text(json.dumps({**work.config, "model": model}), "utf-8")
    done = icm("label", work.rows, "-o", output, "--config", config, "--json", url=service.url)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    return {**documents(done)[0], "rows": found}


def accuracy(job: Mapping[str, Any]) -> float:
    """The share of rows with their gold label."""
    return statistics.fmean(row["icm_label"] == str(row["gold"]) for row in job["rows"])


def labelled_alike(job: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The share of rows to which two jobs give the same label."""
    pairs = zip(job["rows"], other["rows"], strict=True)
    return statistics.fmean(one["icm_label"] == two["icm_label"] for one, two in pairs)


def summary(name: str, job: Mapping[str, Any], twin: Mapping[str, Any]) -> str:
    """A line about a job and the same job on the embedded server."""
    cost, other = job["report"]["cost"], twin["report"]["cost"]
    return (
        f"{name}: {len(job['rows'])} rows, {labelled_alike(job, twin):.0%} labelled as by the embedded server, "
        f"accuracy {accuracy(job):.3f} and {accuracy(twin):.3f}, "
        f"verdict {job['report']['verdict']} and {twin['report']['verdict']}, "
        f"tokens sent {cost['tokens_sent']:,} and {other['tokens_sent']:,}, "
        f"computed {cost['tokens_computed']:,} and {other['tokens_computed']:,}"
    )


def assert_as_gold(job: Mapping[str, Any], work: Example, twin: Mapping[str, Any]) -> None:
    """Check that the job labelled every row, and at least as many correctly as the language model allows.

    The small model is right on nearly all of its rows; on others the embedded server shows what is possible.
    """
    assert len(job["rows"]) == work.count > 0
    assert all(row["icm_status"] in {"labeled", "uncertain"} for row in job["rows"])
    assert accuracy(job) >= min(0.85, accuracy(twin) - 0.05)
    assert job["job"]["status"] == "succeeded"
