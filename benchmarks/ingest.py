"""Measures how long the API takes to check and store a data set, and how much memory it needs for that.

    python -m benchmarks.ingest --rows 100000 --format jsonl

Starts an embedded Postgres and an API process of its own, uploads once, and reads list,
labels and result pages back. Prints one JSON object.
"""

import argparse
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from icm.local_stack.embedded_postgres import EmbeddedPostgres
from icm.local_stack.free_ports import free_port

CONFIG = {
    "name": "ingest",
    "task": {
        "template": "Question: {question}\nClaim: {answer}\nI think this claim is",
        "id_field": "id",
        "gold_field": "label",
        "relations": [{"kind": "at_most_one", "group": "question", "distinct": "answer"}],
    },
}
_MEGABYTE = 1_000_000
_START_SECONDS = 60.0
_UPLOAD_SECONDS = 600.0


def rows(count: int) -> list[dict[str, Any]]:
    """Short rows in groups of four."""
    return [
        {
            "id": f"row-{number}",
            "question": f"What is the answer to question number {number // 4} of this list?",
            "answer": f"It is number {number % 4}",
            "label": number % 4 == 0,
        }
        for number in range(count)
    ]


def encode(data: list[dict[str, Any]], form: str) -> bytes:
    """The rows as a file of the given format."""
    kind, _, packing = form.partition(".")
    if kind == "jsonl":
        content = "".join(json.dumps(row) + "\n" for row in data).encode()
    elif kind == "csv":
        lines = [",".join(data[0]), *(",".join(map(str, row.values())) for row in data)]
        content = "\n".join(lines).encode()
    else:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(data), sink)
        content = sink.getvalue()
    return gzip.compress(content) if packing else content


@contextmanager
def private_postgres() -> Iterator[str]:
    """An embedded Postgres in a temporary folder; gives its URL."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # the database's own user goes through it; its content is private
        with EmbeddedPostgres(Path(folder) / "postgres") as postgres:
            yield postgres.url


def environment_on(database_url: str) -> dict[str, str]:
    """The environment of an API or worker process on this database, which scores deterministically."""
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "ICM_LOG_LEVEL": "WARNING",
        "ICM_BACKENDS": json.dumps([{"name": "default", "kind": "deterministic"}]),
    }


@contextmanager
def api(database_url: str) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A client of an API process, and the process."""
    port = free_port()
    environment = {**environment_on(database_url), "ICM_PORT": str(port)}
    subprocess.run([sys.executable, "-m", "migrations", "upgrade"], env=environment, check=True)
    server = subprocess.Popen([sys.executable, "-m", "api"], env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_UPLOAD_SECONDS) as client:
            _wait_until_ready(client)
            yield client, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(30)


def _wait_until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.get("/health/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the API was not ready after {_START_SECONDS} seconds")


def peak_bytes(process: psutil.Process) -> int:
    """The peak memory of the process by Linux's count; on other systems its present memory."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return int(process.memory_info().rss)
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def measure(client: httpx.Client, process: psutil.Process, content: bytes, form: str) -> dict[str, Any]:
    """Upload once, then read pages; seconds and megabytes."""
    for path in ("/v1/models", "/openapi.json"):
        client.get(path).raise_for_status()  # so that the upload is not charged for what a process loads once
    before = process.memory_info().rss
    began = time.perf_counter()
    files, data = {"dataset": (f"rows.{form}", content)}, {"config": json.dumps(CONFIG)}
    answer = client.post("/v1/jobs", files=files, data=data)
    seconds = time.perf_counter() - began
    answer.raise_for_status()
    job = answer.json()["links"]
    found = {
        "format": form,
        "rows": answer.json()["progress"]["rows"],
        "file_megabytes": round(len(content) / _MEGABYTE, 1),
        "upload_seconds": round(seconds, 2),
        "memory_before_megabytes": round(before / _MEGABYTE, 1),
        "memory_growth_megabytes": round((peak_bytes(process) - before) / _MEGABYTE, 1),
    }
    client.post(job["cancel"]).raise_for_status()
    pages = {
        "list": "/v1/jobs",
        "labels": job["labels"] + "?limit=1000",
        "labels_by_confidence": job["labels"] + "?limit=1000&order=confidence",
        "report": job["report"],
        "result_jsonl": job["result"] + "?partial=true",
        "result_csv": job["result"] + "?partial=true&format=csv",
        "result_parquet": job["result"] + "?partial=true&format=parquet",
    }
    reading = {f"{name}_seconds": _timed(client, path) for name, path in pages.items()}
    grown = round((peak_bytes(process) - before) / _MEGABYTE, 1)
    return {**found, **reading, "memory_growth_after_reading_megabytes": grown}


def _timed(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    with client.stream("GET", path) as answer:
        answer.raise_for_status()
        for _ in answer.iter_bytes():
            pass
    return round(time.perf_counter() - began, 3)


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--format", default="jsonl", choices=["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet"])
    arguments = parser.parse_args()
    content = encode(rows(arguments.rows), arguments.format)
    with private_postgres() as database_url, api(database_url) as (client, process):
        sys.stdout.write(json.dumps(measure(client, process, content, arguments.format), indent=2) + "\n")


if __name__ == "__main__":
    main()
